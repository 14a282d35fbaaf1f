"""The past by key, time, actor and type: indexes of segments, and what is read by them."""
