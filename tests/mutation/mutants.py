"""The mutants: the engine with one piece of its safety taken out.

Each replaces one passage of the source, which must be there exactly once. Together they cover
each sync of a file and of a directory, each check of a checksum, a digest or a bound, and each
order that a crash could expose.

Not here, because nothing is lost without them: the syncs of a spare before it is used and of a
checkpoint while it is written (a later sync of the same file covers both; they spread the work),
the syncs of the `durable` file (a bound that is behind is legal), the sync of the directory after
a checkpoint was removed or a damaged one was set aside (if it comes back, that is done again).
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change of one file."""

    name: str
    path: str
    old: str
    new: str


MUTANTS = (
    # Syncs of files
    Mutant(
        "no sync of a group",
        "eventstore/log/writer.py",
        "            segment.file.sync()\n",
        "            pass\n",
    ),
    Mutant(
        "no sync of a segment's first group",
        "eventstore/log/writer.py",
        "        file.sync()\n        path = join(",
        "        path = join(",
    ),
    Mutant(
        "no sync of the log when it is opened",
        "eventstore/recovery/execute.py",
        "        file.sync()\n        return Segment(",
        "        return Segment(",
    ),
    Mutant(
        "no sync of a new store's first segment",
        "eventstore/recovery/execute.py",
        "        spare.file.sync()\n",
        "",
    ),
    Mutant(
        "no sync of small files",
        "eventstore/files/content.py",
        "        file.write(0, data)\n        file.sync()\n",
        "        file.write(0, data)\n",
    ),
    Mutant(
        "no sync of a checkpoint before its rename",
        "eventstore/checkpoints/writer.py",
        "            file.sync()\n        finally:",
        "        finally:",
    ),
    Mutant(
        "sync of a file does nothing",
        "eventstore/files/platform.py",
        "    os.fdatasync(descriptor)",
        "    pass",
    ),
    # Order
    Mutant(
        "the archive is listed before the log",
        "eventstore/log/segments.py",
        "    in_log = list_segments(file_system, store_path)\n"
        "    sources = {source.first_revision: source for source in "
        "list_archived(file_system, store_path)}\n",
        "    archived = list_archived(file_system, store_path)\n"
        "    in_log = list_segments(file_system, store_path)\n"
        "    sources = {source.first_revision: source for source in archived}\n",
    ),
    # Syncs of directories
    Mutant(
        "no directory sync after a roll",
        "eventstore/log/writer.py",
        "        self._file_system.sync_directory(self._wal_path)\n",
        "",
    ),
    Mutant(
        "no sync of the names that an open finds",
        "eventstore/recovery/execute.py",
        "            file_system.make_private(directory)\n"
        "        file_system.sync_directory(directory)\n",
        "            file_system.make_private(directory)\n",
    ),
    Mutant(
        "no sync of the name of a new store",
        "eventstore/recovery/execute.py",
        "        sync_names_above(file_system, path)\n        segment =",
        "        segment =",
    ),
    Mutant(
        "no sync of the names above a new store's directory",
        "eventstore/directory/contents.py",
        "            sync_names_above(file_system, above)\n",
        "            pass\n",
    ),
    Mutant(
        "no directory sync after the first segment got its name",
        "eventstore/recovery/execute.py",
        "        file_system.rename(spare.file.path, name)\n"
        "        file_system.sync_directory(directory)\n",
        "        file_system.rename(spare.file.path, name)\n",
    ),
    Mutant(
        "no directory sync after a torn tail was saved",
        "eventstore/recovery/execute.py",
        "    file_system.rename(temporary, saved_path)\n"
        "    file_system.sync_directory(directory)\n",
        "    file_system.rename(temporary, saved_path)\n",
    ),
    Mutant(
        "no directory sync after a checkpoint",
        "eventstore/checkpoints/writer.py",
        "    file_system.sync_directory(parent(path))\n",
        "",
    ),
    Mutant(
        "no directory sync of the archive",
        "eventstore/maintenance/compaction.py",
        "        self._file_system.rename(temporary, target)\n"
        "        self._file_system.sync_directory(self._archive_path)\n",
        "        self._file_system.rename(temporary, target)\n",
    ),
    Mutant(
        "no directory sync after a segment was archived and removed",
        "eventstore/maintenance/compaction.py",
        "            self._file_system.remove(source.path)\n"
        "            self._file_system.sync_directory(self._wal_path)\n",
        "            self._file_system.remove(source.path)\n",
    ),
    Mutant(
        "no directory sync after an archived segment was dropped",
        "eventstore/maintenance/compaction.py",
        "            self._file_system.remove(source.path)\n"
        "            self._file_system.sync_directory(self._archive_path)\n",
        "            self._file_system.remove(source.path)\n",
    ),
    Mutant(
        "no sync of the detached batches",
        "eventstore/integrity/detached.py",
        "        file.sync()\n",
        "",
    ),
    Mutant(
        "no sync of the name of the detached batches",
        "eventstore/integrity/detached.py",
        "    target.sync_directory(parent(file.path))\n",
        "",
    ),
    Mutant(
        "batches that are kept are detached as well",
        "eventstore/integrity/detached.py",
        "            if record.digest not in known:\n",
        "            if True:\n",
    ),
    Mutant(
        "a repair keeps a checkpoint that its log contradicts",
        "eventstore/integrity/repair.py",
        "    if reasons:\n",
        "    if False:\n",
    ),
    Mutant(
        "no sync of a repaired segment",
        "eventstore/integrity/rebuild.py",
        "        self.file.sync()\n",
        "",
    ),
    Mutant(
        "sync of a directory does nothing",
        "eventstore/files/local.py",
        "os.fsync(descriptor)",
        "pass",
    ),
    # Orders
    Mutant(
        "acknowledged before the sync",
        "eventstore/handle/write_transaction.py",
        "            self._log.make_durable(ticket)\n",
        '            __import__("threading").Thread('
        "target=self._log.make_durable, args=(ticket,)).start()\n",
    ),
    Mutant(
        "published before the sync",
        "eventstore/handle/write_transaction.py",
        "        try:\n            self._lock.release(turn)\n",
        "        self._state.publish(self._state.newest)\n"
        "        try:\n            self._lock.release(turn)\n",
    ),
    Mutant(
        "readers begin where the last one who looked has begun",
        "eventstore/handle/transactions.py",
        "        if version.next is not None:\n            version = state.shown(self._log)\n",
        "",
    ),
    Mutant(
        "batches and receipts run ahead of readers",
        "eventstore/handle/reading.py",
        "        return self._state.shown(self._log).revision\n",
        "        return self._log.durable_revision\n",
    ),
    Mutant(
        "the durable file written before the sync",
        "eventstore/log/writer.py",
        "        started = time.perf_counter()\n        if segment.is_named:\n",
        "        started = time.perf_counter()\n"
        "        self._durable_block.store(\n"
        "            pack_durable(segment.header.store_id, group.last_revision)\n"
        "        )\n"
        "        if segment.is_named:\n",
    ),
    Mutant(
        "rollback does not wait for what it could read",
        "eventstore/handle/write_transaction.py",
        "        self._log.wait_until_durable(self._base_revision)\n",
        "",
    ),
    Mutant(
        "records that nothing proves synced are not written again",
        "eventstore/recovery/execute.py",
        "        _write_unproven_again(file, tail)\n",
        "",
    ),
    Mutant(
        "the log is dropped before the archive",
        "eventstore/maintenance/compaction.py",
        "        archived, dropped = 0, self._drop_archived()\n",
        "        archived, dropped = 0, 0\n",
    ),
    Mutant(
        "a segment gets its name before its first group",
        "eventstore/log/writer.py",
        "        file.write(0, pack_segment_header(segment.header) + data)\n"
        "        file.sync()\n"
        "        path = join(self._wal_path, "
        "segment_name(segment.header.first_revision))\n"
        "        try:\n"
        "            self._file_system.rename(file.path, path)\n",
        "        path = join(self._wal_path, "
        "segment_name(segment.header.first_revision))\n"
        "        try:\n"
        "            self._file_system.rename(file.path, path)\n"
        "            self._file_system.sync_directory(self._wal_path)\n"
        "            file.write(0, pack_segment_header(segment.header) + data)\n"
        "            file.sync()\n",
    ),
    Mutant(
        "no room is given up for a segment's name",
        "eventstore/log/writer.py",
        "            if not is_full(error) or not self._spares.rename_in_room(file.path, path):\n",
        "            if True:\n",
    ),
    Mutant(
        "a batch joins the group of the segment before",
        "eventstore/log/writer.py",
        "            if group is not None and group.segment is end.segment:\n",
        "            if group is not None:\n",
    ),
    Mutant(
        "a flush that was stopped is not noticed",
        "eventstore/log/writer.py",
        "            if self._is_flushing or self.failure is not None:\n",
        "            if self.failure is not None:\n",
    ),
    Mutant(
        "a failed sync is forgotten",
        "eventstore/log/writer.py",
        "            error = self.failure = self.failure or error\n",
        "",
    ),
    Mutant(
        "a group whose sync failed is acknowledged",
        "eventstore/log/writer.py",
        "        if group.error is not None:\n"
        "            raise self._failed_error(group.error) from group.error\n",
        "",
    ),
    Mutant(
        "a torn tail is zeroed before it is saved",
        "eventstore/recovery/execute.py",
        "    write_file(file_system, temporary, data)\n",
        "    file.write(offset_bytes, bytes(len(data)))\n"
        "    file.sync()\n"
        "    write_file(file_system, temporary, data)\n",
    ),
    Mutant(
        "a segment is removed before it is archived",
        "eventstore/maintenance/compaction.py",
        "                self._archive(source, following)\n",
        "                data = self._verified_content(source, following)\n"
        "                self._file_system.remove(source.path)\n"
        "                self._file_system.sync_directory(self._wal_path)\n"
        "                write_file(self._file_system, source.path, data)\n"
        "                self._archive(source, following)\n",
    ),
    Mutant(
        "only one checkpoint is kept",
        "eventstore/checkpoints/chains.py",
        "    kept.update(others.to(fallback))\n",
        "",
    ),
    Mutant(
        "the segment after the older checkpoint goes too",
        "eventstore/maintenance/compaction.py",
        "        if following - 1 > kept.fallback:\n",
        "        if first > kept.fallback:\n",
    ),
    Mutant(
        "checkpoints that stay are not read before older ones go",
        "eventstore/maintenance/compaction.py",
        "            self._drops = self._may_drop(staying)\n",
        "            pass\n",
    ),
    Mutant(
        "an archived copy is not compared",
        "eventstore/maintenance/compaction.py",
        "        if copy.read(0, copy.size_bytes()) != data:\n",
        "        if False:\n",
    ),
    Mutant(
        "a checkpoint is not read back",
        "eventstore/checkpoints/writer.py",
        "        written = read_part(file_system, temporary, with_digest=True, pause=pause)\n"
        "        if written.header != header or _row_counts(written.tables) != row_counts:\n",
        "        if False:\n",
    ),
    Mutant(
        "a checkpoint is written in place",
        "eventstore/checkpoints/writer.py",
        "    temporary = path + TEMPORARY_SUFFIX\n",
        "    temporary = path\n",
    ),
    Mutant(
        "a batch joins a group that is being written",
        "eventstore/log/writer.py",
        "            if group is self._open_group:\n"
        "                self._open_group = None\n"
        "            return group\n",
        "            return group\n",
    ),
    Mutant(
        "a roll can be stopped between the segment and the offset",
        "eventstore/log/writer.py",
        "        self.end = end._replace(segment=segment, offset_bytes=SEGMENT_HEADER_BYTES)\n",
        "        self.end = end._replace(segment=segment)\n"
        "        self.end = self.end._replace(offset_bytes=SEGMENT_HEADER_BYTES)\n",
    ),
    Mutant(
        "a row is changed before its old value is kept",
        "eventstore/tables/table.py",
        "        self._journal.record(self, key, self.raw(key))\n        self._write(key, value)\n",
        "        old = self.raw(key)\n"
        "        self._write(key, value)\n"
        "        self._journal.record(self, key, old)\n",
    ),
    Mutant(
        "a reader takes the old value first and the present one second",
        "eventstore/tables/view.py",
        "        value = self._as_of(table, key, table.raw(key))\n",
        "        version = self._version\n"
        "        undo = dict(version.undo.get(table, ())) if version.next is None else None\n"
        "        value = table.raw(key)\n"
        "        if undo is not None and self._merged is None:\n"
        "            value = undo.get(key, value)\n"
        "        else:\n"
        "            value = self._as_of(table, key, value)\n",
    ),
    Mutant(
        "a reader without a view takes the present value second",
        "eventstore/handle/read_transaction.py",
        "            value = found.raw(key)\n"
        "            if place.next is None and not place.undo:\n",
        "            if place.next is None and not place.undo:\n"
        "                value = found.raw(key)\n",
    ),
    Mutant(
        "a reader walks no further than one version",
        "eventstore/tables/view.py",
        "            if following is None:\n                return value\n",
        "            return value\n",
    ),
    Mutant(
        "a reader without a view sees what is being changed",
        "eventstore/handle/read_transaction.py",
        "            if place.next is None and not place.undo:\n",
        "            if place.next is None:\n",
    ),
    Mutant(
        "a reader without a view sees later batches",
        "eventstore/handle/read_transaction.py",
        "            if place.next is None and not place.undo:\n",
        "            if not place.undo:\n",
    ),
    Mutant(
        "two threads fold one view at once",
        "eventstore/tables/view.py",
        "    def _older(self, table: Table, key: Any, value: Any) -> Any:\n"
        "        folding = self._own_lock()\n"
        "        with folding:\n",
        "    def _older(self, table: Table, key: Any, value: Any) -> Any:\n        if True:\n",
    ),
    Mutant(
        "a reader takes the map of a version first and its link second",
        "eventstore/tables/view.py",
        "            version = following\n        self._version = version\n",
        "            version = version.next or following\n        self._version = version\n",
    ),
    # Verdicts
    Mutant(
        "the durable bound is not heeded",
        "eventstore/recovery/decide.py",
        "    acknowledged = max(found.acknowledged, tail.durable_claim)\n",
        "    acknowledged = tail.durable_claim\n",
    ),
    Mutant(
        "later records' durable revisions are not heeded",
        "eventstore/recovery/decide.py",
        "    acknowledged = max(found.acknowledged, tail.durable_claim)\n",
        "    acknowledged = found.acknowledged\n",
    ),
    Mutant(
        "damage in a sealed segment is a torn tail",
        "eventstore/recovery/decide.py",
        "    if problem is None:\n        return None\n    return Damage(tail.source.path",
        "    if True:\n        return None\n    return Damage(tail.source.path",
    ),
    Mutant(
        "a missing log with a durable bound is a new store",
        "eventstore/recovery/decide.py",
        "        if found.acknowledged or found.has_checkpoints:\n",
        "        if False:\n",
    ),
    Mutant(
        "a gap between segments is not noticed",
        "eventstore/recovery/decide.py",
        "    elif header.first_revision != end.revision + 1:\n",
        "    elif False:\n",
    ),
    Mutant(
        "the predecessor's digest is not compared",
        "eventstore/recovery/decide.py",
        "    elif header.predecessor_digest != end.digest or "
        "header.predecessor_bytes != end.offset_bytes:\n",
        "    elif False:\n",
    ),
    Mutant(
        "a checkpoint of another history is taken",
        "eventstore/recovery/decide.py",
        "    if digest == checkpoint.digest:\n",
        "    if True:\n",
    ),
    Mutant(
        "a log that does not reach back to its checkpoint is taken",
        "eventstore/recovery/decide.py",
        "    elif header.first_revision > base_revision + 1:\n",
        "    elif False:\n",
    ),
    Mutant(
        "a follower shows a store that an open refuses",
        "eventstore/backend/follower.py",
        "        if decision.problem is not None:\n",
        "        if False:\n",
    ),
    Mutant(
        "a scan is judged before it has come to its end",
        "eventstore/recovery/scan.py",
        "        if not self._is_complete:\n",
        "        if False:\n",
    ),
    Mutant(
        "a follower begins with what the writer has not acknowledged",
        "eventstore/backend/follower.py",
        "            if record.revision <= scan.durable_revision:\n",
        "            if True:\n",
    ),
    Mutant(
        "an open that is not to make a store finishes one whose making was cut",
        "eventstore/backend/opening.py",
        "    if decision.verdict is Verdict.NEW and not may_create:\n",
        "    if False:\n",
    ),
    Mutant(
        "an open that is not to make a store makes one",
        "eventstore/backend/opening.py",
        "    require_store(file_system, path, may_create=may_create)\n",
        "    require_store(file_system, path, may_create=True)\n",
    ),
    Mutant(
        "a follower does not notice that its store was removed",
        "eventstore/backend/reading.py",
        "            require_store(self._file_system, self._path, may_create=False)\n",
        "",
    ),
    Mutant(
        "a verification takes a store in the making for a damaged one",
        "eventstore/integrity/verification.py",
        "        if decision.verdict is Verdict.NEW:\n",
        "        if False:\n",
    ),
    Mutant(
        "a verification lists only the first damage of a segment",
        "eventstore/integrity/verification.py",
        "            self._add_gaps(tail, file)\n            return damage",
        "            return damage",
    ),
    Mutant(
        "a verification ends at the first damaged segment",
        "eventstore/integrity/verification.py",
        "            if number >= first_opened:\n",
        "            if self.problems:\n                break\n"
        "            if number >= first_opened:\n",
    ),
    Mutant(
        "a verification judges a checkpoint that no open reads",
        "eventstore/integrity/replay.py",
        "        return problem if revision == self._checkpoints.base_revision else None\n",
        "        return problem\n",
    ),
    Mutant(
        "what a checkpoint supersedes is judged as if an open read it",
        "eventstore/integrity/verification.py",
        "            if number >= first_opened:\n",
        "            if True:\n",
    ),
    Mutant(
        "a past state starts from a checkpoint of another history",
        "eventstore/backend/reading.py",
        "        if problem is not None:\n            raise problem.error()\n",
        "",
    ),
    Mutant(
        "a damaged checkpoint counts as batches that were dropped",
        "eventstore/backend/reading.py",
        "        if problem is not None and self.oldest_revision() > 1:\n",
        "        if False:\n",
    ),
    Mutant(
        "a rebuild takes another history than the checkpoint's",
        "eventstore/recovery/loading.py",
        "    if problem is not None:\n        raise problem.error()\n",
        "",
    ),
    Mutant(
        "a clock before 1970 is written as it is",
        "eventstore/recovery/execute.py",
        "created_ns=max(time.time_ns(), 0),",
        "created_ns=time.time_ns(),",
    ),
    Mutant(
        "a follower does not notice a fork",
        "eventstore/backend/follower.py",
        "        if digests != [version.digest]:\n",
        "        if False:\n",
    ),
    # Checksums and digests
    Mutant(
        "no checksum of record headers",
        "eventstore/format/segment.py",
        "crc32(block[: -UINT32.size], seed) != crc or kind",
        "kind",
    ),
    Mutant(
        "record checksums are not bound to the store",
        "eventstore/format/segment.py",
        "    return crc32(store_id)\n",
        "    return 0\n",
    ),
    Mutant(
        "a payload may hold the mark of its segment",
        "eventstore/log/writer.py",
        "is_closed or mark in payload:",
        "is_closed:",
    ),
    Mutant(
        "batches are added to a segment without a mark",
        "eventstore/log/writer.py",
        "is_closed or mark in payload:",
        "(mark and mark in payload):",
    ),
    Mutant(
        "a new mark may be in the payload that it is drawn for",
        "eventstore/log/writer.py",
        "        if mark not in payload:\n",
        "        if mark:\n",
    ),
    Mutant("a mark may hold a zero", "eventstore/log/writer.py", '.replace(b"\\0", b"\\1")', ""),
    Mutant(
        "a record may have any mark",
        "eventstore/format/segment.py",
        "    if not block.startswith(mark):\n        return None\n",
        "",
    ),
    Mutant(
        "a salvaged record may reach over the next one",
        "eventstore/log/search.py",
        "limit = place[0] if place else size",
        "limit = size",
    ),
    Mutant(
        "the search without marks never gives up",
        "eventstore/log/search.py",
        "            left_bytes -= found.payload_bytes\n",
        "",
    ),
    Mutant(
        "what a damaged payload holds claims something",
        "eventstore/log/search.py",
        "            offset = start + framing.record_bytes(found.payload_bytes)\n",
        "            pass\n",
    ),
    Mutant(
        "a claim may be of any revision",
        "eventstore/log/search.py",
        "end.revision < found.revision <= last and",
        "end.revision < found.revision and",
    ),
    Mutant(
        "a salvaged run goes on in a record whose padding is cut",
        "eventstore/log/stretches.py",
        "            elif len(padding) < record.end_bytes - offset:\n",
        "            elif False:\n",
    ),
    Mutant(
        "a record that may be inside another is salvaged",
        "eventstore/log/stretches.py",
        "            if is_certain:\n",
        "            if True:\n",
    ),
    Mutant(
        "a segment may be of any length",
        "eventstore/log/reader.py",
        "    if file.size_bytes() > SEGMENT_BYTES_LIMIT:\n",
        "    if False:\n",
    ),
    Mutant(
        "an archive file may unpack to anything",
        "eventstore/log/segments.py",
        "        if left_bytes < 0:\n",
        "        if False:\n",
    ),
    Mutant(
        "an archive file is unpacked as a whole",
        "eventstore/log/segments.py",
        "                del self._kept[:passed]\n                self._start_bytes += passed\n",
        "",
    ),
    Mutant(
        "memory for a payload before its checksum",
        "eventstore/log/reader.py",
        "        if payload_bytes > _LARGE_BYTES and not large_payload_holds(\n"
        "            self._file, header, offset, framing\n"
        "        ):\n",
        "        if False:\n",
    ),
    Mutant(
        "no checksum of payloads",
        "eventstore/log/reader.py",
        "    if not payload_holds(header, payload, seed):\n        return",
        "    if False:\n        return",
    ),
    Mutant(
        "padding is not checked",
        "eventstore/log/reader.py",
        "    if any(padded[header.payload_bytes :]):\n",
        "    if False:\n",
    ),
    Mutant(
        "no check of the digest chain",
        "eventstore/log/reader.py",
        "    if record_digest(header, payload, previous_digest) != header.digest:\n",
        "    if False:\n",
    ),
    Mutant(
        "revisions may skip",
        "eventstore/log/reader.py",
        "    if header.revision != revision + 1:\n",
        "    if False:\n",
    ),
    Mutant(
        "no cap on payloads that are read",
        "eventstore/log/reader.py",
        "    if header.payload_bytes > payload_bytes_max:\n",
        "    if False:\n",
    ),
    Mutant(
        "times may go back",
        "eventstore/log/reader.py",
        "    if header.time_ns < previous.time_ns:\n",
        "    if False:\n",
    ),
    Mutant(
        "the quick way: no checksum of record headers",
        "eventstore/format/segment.py",
        "crc32(buffer[start : body - UINT32.size], seed) != crc or ",
        "",
    ),
    Mutant(
        "the quick way: redacted records are as others",
        "eventstore/format/segment.py",
        "!= crc or kind or not payload_bytes",
        "!= crc or not payload_bytes",
    ),
    Mutant(
        "the quick way: a record may have no payload",
        "eventstore/format/segment.py",
        "or kind or not payload_bytes",
        "or kind",
    ),
    Mutant(
        "the quick way: revisions may skip",
        "eventstore/format/segment.py",
        "revision != last_revision + 1 or ",
        "",
    ),
    Mutant(
        "the quick way: times may go back",
        "eventstore/format/segment.py",
        "time_ns < last_time_ns or ",
        "",
    ),
    Mutant(
        "the quick way: durable before it was written",
        "eventstore/format/segment.py",
        " or durable_revision >= revision:",
        ":",
    ),
    Mutant(
        "the quick way: no cap on payloads",
        "eventstore/format/segment.py",
        "payload_bytes > payload_bytes_max or after",
        "after",
    ),
    Mutant(
        "the quick way: no checksum of payloads",
        "eventstore/format/segment.py",
        "crc32(payload, seed) != payload_crc or ",
        "",
    ),
    Mutant(
        "the quick way: padding is not checked",
        "eventstore/format/segment.py",
        "!= payload_crc or any(buffer[end:after]):",
        "!= payload_crc:",
    ),
    Mutant(
        "the quick way: no check of the digest chain",
        "eventstore/format/segment.py",
        "        if sha256(last_digest + digested + payload).digest() != digest:\n",
        "        if False:\n",
    ),
    Mutant(
        "no checksum of segment and checkpoint headers",
        "eventstore/format/blocks.py",
        "    if crc32(memoryview(block)[: -UINT32.size]) != crc:\n",
        "    if False:\n",
    ),
    Mutant(
        "no checksum of a checkpoint's chunks",
        "eventstore/format/checkpoint.py",
        "    if crc32(body, crc32(block[: -UINT32.size], seed)) != header.crc:\n",
        "    if False:\n",
    ),
    Mutant(
        "no digest of checkpoints",
        "eventstore/checkpoints/reader.py",
        "        if self._digest is not None and self._digest.digest() != footer.digest:\n",
        "        if False:\n",
    ),
    Mutant(
        "a checkpoint may lack chunks",
        "eventstore/checkpoints/reader.py",
        "        if chunk_count != footer.chunk_count or tuple(row_counts) != footer.row_counts:\n",
        "        if False:\n",
    ),
    Mutant(
        "no checksum of the durable file",
        "eventstore/format/durable.py",
        "    sound = crc32(block[: DURABLE_BYTES - UINT32.size]) == crc\n",
        "    sound = True\n",
    ),
    Mutant(
        "the durable file of another store is believed",
        "eventstore/format/durable.py",
        "    if store_id is not None and found_id != store_id:\n",
        "    if False:\n",
    ),
    Mutant(
        "a receipt's digest is not compared",
        "eventstore/handle/proofs.py",
        "        if batch.digest != receipt.digest:\n",
        "        if False:\n",
    ),
    # Locks
    Mutant(
        "a replaced lock file is not noticed",
        "eventstore/files/local.py",
        "            self._check_still_named(path, descriptor)\n",
        "",
    ),
    Mutant(
        "the store's directory is not locked",
        "eventstore/files/local.py",
        "        directory = flocked(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)\n",
        "        directory = open_descriptor("
        "os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)\n",
    ),
    Mutant(
        "a close amid a read is told as an error of a descriptor",
        "eventstore/handle/closing.py",
        "        if self.reason is not None:\n"
        "            raise StoreClosedError(self.reason) from error\n",
        "",
    ),
    Mutant(
        "nobody looks whether the store has gone",
        "eventstore/handle/upkeep.py",
        "            self._log.look()\n",
        "            pass\n",
    ),
    Mutant(
        "who finds that the store has gone keeps that to himself",
        "eventstore/files/guarded.py",
        "            error = self._gone_error()\n            self._on_gone(error)\n",
        "            error = self._gone_error()\n",
    ),
    Mutant(
        "a store whose directory was emptied is taken for one that is there",
        "eventstore/files/guarded.py",
        "        if not self.is_directory(path):\n",
        "        if False:\n",
    ),
    Mutant(
        "a store that has gone is told as an error of the system",
        "eventstore/files/failures.py",
        "    if isinstance(error, OSError) and is_gone(error):\n",
        "    if False:\n",
    ),
    Mutant(
        "a repair that is to keep the history keeps the newest state",
        "eventstore/integrity/repair.py",
        "    if keep_history:\n",
        "    if False:\n",
    ),
    Mutant(
        "a metastore is put around a store without snapshots",
        "projections/snapshots/metastore.py",
        "                now.table(SNAPSHOTS)\n",
        "                pass\n",
    ),
    Mutant(
        "a store that was moved while open is not noticed",
        "eventstore/files/guarded.py",
        "        if self._lock.has_left(self._path):\n",
        "        if False:\n",
    ),
    Mutant(
        "versions behind an idle reader are not merged",
        "eventstore/tables/state.py",
        "        self._thinning.step(journal.newest, self.durable)\n",
        "",
    ),
    Mutant(
        "a link skips versions whose maps were not taken over whole",
        "eventstore/tables/thinning.py",
        "                    for key, old in part:\n",
        "                    for key, old in part[1:]:\n",
    ),
    Mutant(
        "a version takes over what was changed before it",
        "eventstore/tables/thinning.py",
        "                        merged.setdefault(key, old)\n",
        "                        merged[key] = old\n",
    ),
    Mutant(
        "an order that an interrupt has left half done is not made anew",
        "eventstore/tables/order.py",
        "        anew = not self._is_whole or drops != self._drops_seen\n",
        "        anew = drops != self._drops_seen\n",
    ),
    Mutant(
        "an order forgets the key of a row that is on its way",
        "eventstore/tables/order.py",
        "        del touched[: count - 1]\n",
        "        del touched[:count]\n",
    ),
    Mutant(
        "an order does not see that touched keys were dropped",
        "eventstore/tables/order.py",
        "        self._drops += 1\n",
        "        pass\n",
    ),
    Mutant(
        "a row is made before its key is touched",
        "eventstore/tables/rows.py",
        "        if key not in rows:\n"
        "            self._order.touch(key, len(rows))\n"
        "        if self._indexes is not None:\n"
        "            self._indexes.touch(key, len(rows))\n"
        "        rows[key] = value\n",
        "        if self._indexes is not None:\n"
        "            self._indexes.touch(key, len(rows))\n"
        "        is_new = key not in rows\n"
        "        rows[key] = value\n"
        "        if is_new:\n"
        "            self._order.touch(key, len(rows))\n",
    ),
    Mutant(
        "decoded values are kept without a bound",
        "eventstore/tables/values.py",
        "        if len(self._decoded) >= _DECODED_MAX:\n",
        "        if False:\n",
    ),
    Mutant(
        "what a snapshot was before its commit is told by what it is now",
        "projections/snapshots/history.py",
        'and data.get("time_ns", 0) > lasting.since_ns',
        "",
    ),
    Mutant(
        "a question without an index is not answered as of its moment",
        "eventstore/tables/texts.py",
        "(key, value) for key, value in list(rows.items()) if",
        "(key, value) for key, value in () if",
    ),
    Mutant(
        "rows that have a text at their end are passed over",
        "eventstore/tables/packed.py",
        "place := bisect_right(ends, at)",
        "place := bisect_right(ends, at + len(first))",
    ),
    Mutant(
        "of two rows with a text that stand together one is passed over",
        "eventstore/tables/packed.py",
        "at = values.find(first, max(end, at + 1))",
        "at = values.find(first, end + 1)",
    ),
    Mutant(
        "whoever goes on asking never gets an index",
        "eventstore/tables/index.py",
        "self._unmade_cost[index] = spent + cost(source, found)",
        "self._unmade_cost[index] = 0",
    ),
    Mutant(
        "texts that a row does not hold are not found by a check",
        "eventstore/tables/index.py",
        "if type(value) is bytes and not all(part in value for part in parts):",
        "if False:",
    ),
    Mutant(
        "an index that an interrupt has left half done is not made anew",
        "eventstore/tables/index.py",
        "        anew = not self._is_whole or drops != self._drops_seen\n",
        "        anew = drops != self._drops_seen\n",
    ),
    Mutant(
        "an index forgets the key of a row that is on its way",
        "eventstore/tables/index.py",
        "        del touched[: count - 1]\n",
        "        del touched[:count]\n",
    ),
    Mutant(
        "an index does not see that touched keys were dropped",
        "eventstore/tables/index.py",
        "            self._drops += 1\n",
        "            pass\n",
    ),
    Mutant(
        "touched keys are kept for indexes without a bound",
        "eventstore/tables/index.py",
        "        if len(touched) > _TOUCHED_MIN and 2 * len(touched) > row_count:\n",
        "        if False:\n",
    ),
    Mutant(
        "two entries of a row with one hash give it twice",
        "eventstore/tables/index.py",
        "                    hashes = {hash(entry) & _HASH_MASK for entry in found}\n",
        "                    hashes = [hash(entry) & _HASH_MASK for entry in found]\n",
    ),
    Mutant(
        "a row goes and the indexes do not learn of it",
        "eventstore/tables/rows.py",
        "                self._indexes.touch(key, len(self._rows))\n",
        "                pass\n",
    ),
    Mutant(
        "a reader asks the undo maps before the index",
        "eventstore/tables/view.py",
        "        found = table.found(index, entry)\n        changed = self._changed_keys(table)\n",
        "        changed = self._changed_keys(table)\n        found = table.found(index, entry)\n",
    ),
    Mutant(
        "a reader takes what an index gives without the rows that were changed since",
        "eventstore/tables/view.py",
        "        if changed:\n            found = merged",
        "        if False:\n            found = merged",
    ),
    Mutant(
        "a reader shows what an index gives as it is now",
        "eventstore/tables/view.py",
        "is None and version.next is None and not version.undo.get(table):\n",
        "is None:\n",
    ),
    Mutant(
        "a reader shows what an index gives as it is being changed",
        "eventstore/tables/view.py",
        "is None and version.next is None and not version.undo.get(table):\n",
        "is None and version.next is None:\n",
    ),
    Mutant(
        "what an index gives is not confirmed by the row",
        "eventstore/tables/index.py",
        "            if has_entry:\n",
        "            if True:\n",
    ),
    Mutant(
        "a question of the writer shows what was changed since it was asked",
        "eventstore/tables/table.py",
        "self.confirmed(index, entry, [(key, first_olds.get(key, value))])",
        "self.confirmed(index, entry, [(key, value)])",
    ),
    Mutant(
        "a kept value is given for a row that has changed",
        "eventstore/tables/values.py",
        "        if kept is not None and kept[0] is packed:\n",
        "        if kept is not None:\n",
    ),
    Mutant(
        "a tombstone over nothing is loaded",
        "eventstore/tables/rows.py",
        "            self._drop_needless_tombstones()\n",
        "",
    ),
    Mutant(
        "rows decoded at once may take bytes from each other",
        "eventstore/format/codec.py",
        "            if end_of_one() != end:\n",
        "            if False:\n",
    ),
    Mutant(
        "keys of several lengths are taken for keys of one",
        "eventstore/format/codec.py",
        "        if packed[start + place :: step] != first[place : place + 1] * count:\n",
        "        if False:\n",
    ),
    Mutant(
        "an interrupt leaves a chunk with places of keys that have no length",
        "eventstore/tables/packed.py",
        "        self._text_start, self._text_bytes = start, size\n",
        "        self._text_step = step\n"
        "        self._text_start, self._text_bytes = start, size\n",
    ),
    Mutant(
        "what a projection could not carry over is taken for carried over",
        "eventstore/recovery/carrying.py",
        "    if not upgrade.is_done:\n        return None\n",
        "",
    ),
    Mutant(
        "a checkpoint that was carried over counts as one of this version",
        "eventstore/recovery/loading.py",
        "        elif checkpoint is found:\n",
        "        else:\n",
    ),
    Mutant(
        "labels that are no texts are taken",
        "projections/snapshots/projection.py",
        "        if type(key) is not str or type(value) is not str:\n",
        "        if False:\n",
    ),
    Mutant(
        "an import leaves the garbage collector at rest",
        "projections/snapshots/importer.py",
        "        if was_enabled:\n            gc.enable()\n",
        "        pass\n",
    ),
    Mutant(
        "the last child is not counted off",
        "projections/snapshots/projection.py",
        "    if count > 1:\n",
        "    if count > 0:\n",
    ),
    Mutant(
        "the lock of an index is not renewed in a child",
        "eventstore/tables/rows.py",
        "            self._indexes.renew_lock()\n",
        "            pass\n",
    ),
    Mutant(
        "a scan by the writer shows what was changed since it began",
        "eventstore/tables/table.py",
        "decoded_rows(corrected(rows, older), decode=decode)\n            start",
        "decoded_rows(rows, decode=decode)\n            start",
    ),
    Mutant(
        "a scan by the writer shows a value between its begin and now",
        "eventstore/tables/table.py",
        "                    first_olds.setdefault(key, old)\n",
        "                    first_olds[key] = old\n",
    ),
    Mutant(
        "put takes values that a checkpoint does not give back",
        "eventstore/tables/table.py",
        "            value = self._plain_value(key, value)\n",
        "            pass\n",
    ),
    Mutant(
        "put takes values that encode makes nothing of that can be packed",
        "eventstore/tables/table.py",
        "            value = self._packed_value(key, value)\n",
        "            pass\n",
    ),
    Mutant(
        "the warning of a dropped transaction keeps it",
        "eventstore/handle/write_transaction.py",
        "                stacklevel=2,\n",
        "                source=self,\n",
    ),
    Mutant(
        "put takes values that encode makes an extension type of",
        "eventstore/format/codec.py",
        "    if packed.translate(None, _NO_EXTENSIONS):\n",
        "    if False:\n",
    ),
    Mutant(
        "decode is given the key that was asked for",
        "eventstore/tables/values.py",
        "self.decoded(self._own_key(key), packed)",
        "self.decoded(key, packed)",
    ),
    Mutant(
        "put takes keys of several shapes in one table",
        "eventstore/tables/table.py",
        "            elif shape != self._key_shape:\n",
        "            elif False:\n",
    ),
    Mutant(
        "put does not look at the keys of a checkpoint",
        "eventstore/tables/table.py",
        "                self._key_shape = self._known_shape()\n",
        "                pass\n",
    ),
    Mutant(
        "put does not know the keys of a table that was rebuilt",
        "eventstore/tables/rows.py",
        "        self._key_shape, self._order = other._key_shape, other._order\n",
        "        self._order = other._order\n",
    ),
    Mutant(
        "a replay refuses keys of another shape in a table that was emptied",
        "eventstore/tables/table.py",
        "                if not self._journal.is_replaying or self._has_rows():\n",
        "                if True:\n",
    ),
    Mutant(
        "delete takes a key that is only equal",
        "eventstore/tables/table.py",
        "        if type(key) is not self._key_shape:\n",
        "        if False:\n",
    ),
    Mutant(
        "a value that decode makes bytes is decoded twice",
        "eventstore/tables/values.py",
        "        if type(decoded) is bytes:\n",
        "        if False:\n",
    ),
    Mutant(
        "a checkpoint loses tables that the open did not know",
        "eventstore/maintenance/checkpointing.py",
        "        tables += [(table, stored.items) for table, stored in self._carried]\n",
        "",
    ),
    Mutant(
        "a checkpoint carries tables on that lack what was committed since",
        "eventstore/maintenance/checkpointing.py",
        "        if not self.left_out or revision == self._left_out.revision:\n",
        "        if True:\n",
    ),
    Mutant(
        "what was rebuilt is not checkpointed",
        "eventstore/store.py",
        "                store._own_upkeep().save_rebuilt()\n",
        "                pass\n",
    ),
    Mutant(
        "an interrupted checkpoint of what was rebuilt keeps the store locked",
        "eventstore/store.py",
        "            parts.log.close()\n            raise\n",
        "            raise\n",
    ),
    Mutant(
        "batches are dropped although one checkpoint lacks a table of the other",
        "eventstore/maintenance/compaction.py",
        "        return all(names == held[0] for names in held)\n",
        "        return True\n",
    ),
    Mutant(
        "a verification takes a record on its way for damage",
        "eventstore/integrity/verification.py",
        "            end = settled_end(file, header, end)\n",
        "            pass\n",
    ),
    Mutant(
        "the lock is not exclusive",
        "eventstore/files/descriptors.py",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
    ),
    # Chains of checkpoint files
    Mutant(
        "a delta is laid over another history",
        "eventstore/checkpoints/loader.py",
        "    elif header.previous != (before.header.revision, before.header.digest):\n",
        "    elif False:\n",
    ),
    Mutant(
        "a state is loaded by the first chain or not at all",
        "eventstore/checkpoints/loader.py",
        "                problem = problem or error\n        raise problem or",
        "                raise\n        raise problem or",
    ),
    Mutant(
        "what is superseded is judged by the newest two checkpoints, whatever files they share",
        "eventstore/checkpoints/chains.py",
        "    others = Chains(file for file in files if file not in newest)\n",
        "    others = Chains(file for file in files if file not in newest[-1:])\n",
    ),
    Mutant(
        "a delta lacks what changed while the one before was written",
        "eventstore/maintenance/checkpointing.py",
        "            ChangedKeys(version, keys_max(self._row_count())),\n",
        "            ChangedKeys(self._state.shown(self._log), keys_max(self._row_count())),\n",
    ),
    Mutant(
        "a delta is written although not all that changed is known",
        "eventstore/maintenance/checkpointing.py",
        "        if not changed.is_whole or standing.table_names != self._table_names():\n",
        "        if standing.table_names != self._table_names():\n",
    ),
    Mutant(
        "a delta is written although a projection was retired",
        "eventstore/maintenance/checkpointing.py",
        "        if not changed.is_whole or standing.table_names != self._table_names():\n",
        "        if not changed.is_whole:\n",
    ),
    Mutant(
        "a fold copies a chunk in which something has changed",
        "eventstore/checkpoints/writer.py",
        "        if place == end and not pending:\n",
        "        if not pending:\n            place = end\n",
    ),
    Mutant(
        "what a delta continues goes before it",
        "eventstore/maintenance/compaction.py",
        "key=lambda file: file.revision, reverse=True)",
        "key=lambda file: file.revision)",
    ),
    Mutant(
        "no directory sync between superseded checkpoints",
        "eventstore/maintenance/compaction.py",
        "            # Before that which it continues goes: a delta alone would be damage.\n"
        "            self._file_system.sync_directory(self._checkpoints_path)\n",
        "",
    ),
    Mutant(
        "a row that is gone comes back from a chain",
        "eventstore/tables/stored.py",
        "        yield key, value or TOMBSTONE\n",
        "        if value:\n            yield key, value\n",
    ),
    Mutant(
        "a table that was emptied keeps to its old type of keys after a chain",
        "eventstore/tables/stored.py",
        "            if self._is_emptied():\n",
        "            if False:\n",
    ),
    Mutant(
        "a chain lays keys of one type over those of another",
        "eventstore/tables/stored.py",
        "        if not is_one:\n",
        "        if False:\n",
    ),
    Mutant(
        "a close leaves everything to be replayed",
        "eventstore/handle/upkeep.py",
        "        self._save_at_close()\n",
        "",
    ),
    Mutant(
        "a close leaves a large store to be replayed",
        "eventstore/maintenance/checkpointing.py",
        " or row_count * _SECONDS_PER_ROW <= self._replay_seconds()\n",
        "\n",
    ),
    Mutant(
        "the policy does not look at how long a replay takes",
        "eventstore/maintenance/checkpointing.py",
        "            or self._replay_seconds() >= options.checkpoint_after_seconds\n",
        "",
    ),
    # The ladder of past states
    Mutant(
        "a rung is written in place",
        "eventstore/checkpoints/rung_writer.py",
        "    temporary = path + TEMPORARY_SUFFIX\n",
        "    temporary = path\n",
    ),
    Mutant(
        "no sync of a rung before its rename",
        "eventstore/checkpoints/rung_writer.py",
        "            file.sync()\n            pause()\n",
        "            pause()\n",
    ),
    Mutant(
        "a rung is not read back",
        "eventstore/checkpoints/rung_writer.py",
        "        if not _are_same(written.tables, rung.state.tables, pause):\n",
        "        if False:\n",
    ),
    Mutant(
        "no directory sync after a rung",
        "eventstore/checkpoints/rung_writer.py",
        "    file_system.sync_directory(directory)\n    return CheckpointFile",
        "    return CheckpointFile",
    ),
    Mutant(
        "what a rung rests on goes before it",
        "eventstore/maintenance/climbing.py",
        "key=lambda file: file.revision, reverse=True)",
        "key=lambda file: file.revision)",
    ),
    Mutant(
        "no directory sync between rungs that go",
        "eventstore/maintenance/climbing.py",
        "            # Before that which it is packed against goes.\n"
        "            self._file_system.sync_directory(self._directory)\n",
        "",
    ),
    Mutant(
        "rungs go before the one that takes their place is there",
        "eventstore/maintenance/climbing.py",
        "        written = write_rung(self._file_system, self._directory, rung, self._pause)\n"
        "        self._remove([own, above])\n",
        "        self._remove([own, above])\n"
        "        written = write_rung(self._file_system, self._directory, rung, self._pause)\n",
    ),
    Mutant(
        "superseded checkpoints go before the ladder has their states",
        "eventstore/maintenance/compaction.py",
        "            self._climb().add(files, superseded)\n",
        "            _ = files\n",
    ),
    Mutant(
        "the ladder is not cut down to its share",
        "eventstore/maintenance/compaction.py",
        "        self._thin_ladder()\n        return",
        "        return",
    ),
    Mutant(
        "a ladder stays where there is to be none",
        "eventstore/maintenance/climbing.py",
        "        if not self._bytes_max:\n            self._remove(self._files)\n",
        "        if not self._bytes_max:\n            return\n",
    ),
    Mutant(
        "what a crash has left beside a rung that was packed anew stays",
        "eventstore/maintenance/climbing.py",
        "        self._remove([file for file in found if file not in self._sizes_bytes])\n",
        "",
    ),
    Mutant(
        "a rung that others rest on is taken out as if none did",
        "eventstore/maintenance/climbing.py",
        "        if not rest or rest[0].previous is None:\n",
        "        if True:\n",
    ),
    Mutant(
        "a rung is taken out although that saves nothing",
        "eventstore/maintenance/climbing.py",
        "        if (sum(sizes_bytes) - len(rung.content)) * _SAVED_SHARE < min(sizes_bytes):\n",
        "        if False:\n",
    ),
    Mutant(
        "a compaction fails for the ladder's sake",
        "eventstore/maintenance/compaction.py",
        "        except (OSError, CorruptionError, ForeignOwnerError) as error:\n"
        '            _logger.warning("%s: the ladder',
        '        except ForeignOwnerError as error:\n            _logger.warning("%s: the ladder',
    ),
    Mutant(
        "an open takes a newer rung before a checkpoint",
        "eventstore/recovery/scan.py",
        "        loader = CheckpointLoader(self._file_system, files)\n",
        "        loader = CheckpointLoader(self._file_system, [*files, *rungs])\n",
    ),
    Mutant(
        "what is mounted inside a directory is emptied",
        "tools/cli/snapledger/snapshotter/directories.py",
        "    _require_no_mount(path)\n",
        "",
    ),
    Mutant(
        "a native root is taken over",
        "tools/cli/snapledger/snapshotter/takeover.py",
        '            require_strategy(root, _STRATEGY, _ids(data), f"{root}/{SNAPSHOTS}")\n',
        "",
    ),
    Mutant(
        "a snapshotter may get any name",
        "tools/cli/snapledger/snapshotter/renaming.py",
        "    if not _NAME.fullmatch(new) or len(new) > _NAME_MAX:\n",
        "    if not new:\n",
    ),
    Mutant(
        "a rung of a newer format keeps the past away",
        "eventstore/checkpoints/rungs.py",
        "        raise CorruptionError(path, 0, reason) from error\n",
        "        raise\n",
    ),
    Mutant(
        "a rung that can't be removed ends the ladder",
        "eventstore/maintenance/climbing.py",
        "            self._files = [file for file in self._files if file not in resting]\n"
        "        return True\n",
        "            raise\n        return True\n",
    ),
    Mutant(
        "a damaged rung is kept, and packed against",
        "eventstore/maintenance/climbing.py",
        "            self._remove(resting)\n",
        "            _ = resting\n",
    ),
    Mutant(
        "the newest rung goes rather than that which leaves the smallest gap",
        "eventstore/maintenance/ladder.py",
        "    return min(range(len(rungs)), key=lambda place: "
        "(gaps[place], -rungs[place].size_bytes))\n",
        "    return len(rungs) - 1\n",
    ),
    Mutant(
        "a rung is of no use although a later one rests on it",
        "eventstore/maintenance/ladder.py",
        "        if rung.is_root:\n            count = number\n",
        "        count = number\n",
    ),
    Mutant(
        "a state that takes more than the share is made a rung",
        "eventstore/maintenance/ladder.py",
        "    if max(state_bytes, bytes_of([added])) > bytes_max:\n",
        "    if False:\n",
    ),
    Mutant(
        "a chain of rungs is as long as may be although a root costs little",
        "eventstore/maintenance/ladder.py",
        "    if len(links) < LINKS_MIN - 1:\n",
        "    if len(links) < LINKS_MAX - 1:\n",
    ),
    Mutant(
        "a chain of rungs is short although a root costs much",
        "eventstore/maintenance/ladder.py",
        "root.size_bytes * _ROOT_SHARE_OF_CHAIN <= links_bytes\n",
        "True\n",
    ),
    Mutant(
        "a rung is read whole however long its file is",
        "eventstore/checkpoints/rungs.py",
        "        if size_bytes > _LARGE_BYTES and",
        "        if False and",
    ),
    Mutant(
        "no checksum of a rung",
        "eventstore/format/rung.py",
        "    if zlib.crc32(view[: -UINT32.size], seed) != "
        "UINT32.unpack(view[-UINT32.size :])[0]:\n",
        "    if False:\n",
    ),
    Mutant(
        "a rung is believed whatever it unpacks to",
        "eventstore/format/rung.py",
        "    if crc != UINT32.unpack_from(content, end)[0]:\n",
        "    if False:\n",
    ),
    Mutant(
        "the parts of a chunk of a rung may be longer than it",
        "eventstore/format/rung.py",
        "    if own_bytes > entry.body_bytes:\n",
        "    if False:\n",
    ),
    Mutant(
        "the directory of a rung may unpack to anything",
        "eventstore/format/rung.py",
        "    if size_bytes > _COMPRESSION_RATIO_MAX * len(packed):\n",
        "    if False:\n",
    ),
    Mutant(
        "a rung is unpacked against another history",
        "eventstore/checkpoints/rungs.py",
        "    if header.previous != (own.revision, own.digest):\n",
        "    if False:\n",
    ),
    Mutant(
        "a rung is taken for that of another revision",
        "eventstore/checkpoints/rungs.py",
        "    if (header.revision, previous) != (file.revision, file.previous):\n",
        "    if False:\n",
    ),
    Mutant(
        "a verification does not look at the ladder",
        "eventstore/integrity/checkpoints.py",
        "        self.rungs = list_rungs(self._file_system, self._path)\n",
        "",
    ),
    Mutant(
        "an open does not look at the ladder in its last need",
        "eventstore/recovery/scan.py",
        "        rungs = list_rungs(self._file_system, self._path)\n",
        "        rungs: list[CheckpointFile] = []\n",
    ),
    Mutant(
        "rungs from before an erasure stay",
        "eventstore/maintenance/erasing.py",
        "    rungs = _holding(list_rungs(file_system, path), wanted)\n",
        "    rungs: list[CheckpointFile] = []\n",
    ),
    Mutant(
        "what the ladder still holds of an erased text is not looked for",
        "eventstore/maintenance/erasures.py",
        "    files = [*list_checkpoints(file_system, path), *list_rungs(file_system, path)]\n",
        "    files = list_checkpoints(file_system, path)\n",
    ),
    Mutant(
        "a past state is read without the ladder",
        "eventstore/backend/reading.py",
        "            *list_rungs(self._file_system, self._path),\n",
        "",
    ),
    # Texts from elsewhere
    Mutant(
        "a quoted text may end its quotes",
        "projections/snapshots/filters.py",
        """_NEEDS_ESCAPE = re.compile('[\\0\\n\\ufffd"\\\\\\\\]')""",
        """_NEEDS_ESCAPE = re.compile('[\\0\\n\\ufffd\\\\\\\\]')""",
    ),
    Mutant(
        "keywords do not count beside filters",
        "projections/snapshots/walk.py",
        "    if required:\n",
        "    if required and not parsed:\n",
    ),
    Mutant(
        "an import takes any name",
        "projections/snapshots/importer.py",
        '            check_key(snapshot.info.name, "name")\n',
        "            pass\n",
    ),
    # Values that can't be meant
    Mutant(
        "an unknown table is a KeyError for readers",
        "eventstore/handle/read_transaction.py",
        """            raise unknown_table(self._tables, table) from None""",
        """            raise""",
    ),
    Mutant(
        "a bool is a number",
        "eventstore/arguments.py",
        "    if not isinstance(value, int) or isinstance(value, bool):\n",
        "    if not isinstance(value, int):\n",
    ),
    Mutant(
        "what a projection states is not looked at",
        "eventstore/projection.py",
        "        _require_well_stated(projection)\n",
        "        pass\n",
    ),
    Mutant(
        "a class is taken for a projection",
        "eventstore/projection.py",
        "        _require_projection(projection)\n",
        "        pass\n",
    ),
    # The kit itself
    Mutant(
        "the kit lets an apply change its event",
        "eventstore/testing/purity.py",
        "        if pack(event.data) != data:\n",
        "        if False:\n",
    ),
    Mutant(
        "the kit shows a script that another check has found",
        "eventstore/testing/consistency.py",
        "        database=None,\n",
        "",
    ),
    Mutant(
        "the kit folds elsewhere in the same time zone",
        "eventstore/testing/elsewhere.py",
        ', "TZ": _TIME_ZONE}',
        "}",
    ),
    Mutant(
        "the kit lets expect change the model it is given",
        "eventstore/testing/replay.py",
        "                if repr(model) != shown:\n",
        "                if False:\n",
    ),
    Mutant(
        "the kit takes an observation that differs each time for the store's",
        "eventstore/testing/replay.py",
        "        if repr(again) != repr(observed):\n",
        "        if False:\n",
    ),
    Mutant(
        "the kit gives an empty text for a reason",
        "eventstore/testing/report.py",
        "    if str(error):\n        return",
        "    if True:\n        return",
    ),
    Mutant(
        "the kit lets an apply change a value in place",
        "eventstore/testing/purity.py",
        "if key not in seen[table].changed and after[table]",
        "if False and after[table]",
    ),
    Mutant(
        "the kit does not compare tables with a fold",
        "eventstore/testing/purity.py",
        '    if problem is not None:\n        raise InconsistencyError(f"the tables',
        '    if False:\n        raise InconsistencyError(f"the tables',
    ),
    Mutant(
        "the kit does not compare what another process has folded",
        "eventstore/testing/elsewhere.py",
        "        if left is None or right is None or unpack(left[0]) != unpack(right[0]):\n",
        "        if False:\n",
    ),
    Mutant(
        "an exploration begins with a projection that no recovered store can be used with",
        "eventstore/testing/explore.py",
        "    check_ignores_unknown(projections)\n",
        "",
    ),
    # Who holds the writer lock
    Mutant(
        "a statement that was left keeps the writer lock",
        "eventstore/handle/writer_lock.py",
        "        return self._statement is not None and self._statement() is None\n",
        "        return False\n",
    ),
    Mutant(
        "a dropped transaction keeps the writer lock",
        "eventstore/handle/writer_lock.py",
        "        return holder is None or holder.was_left\n",
        "        return holder is not None and holder.was_left\n",
    ),
    Mutant(
        "a thread is known by its number",
        "eventstore/handle/writer_lock.py",
        "        return self._thread is threading.current_thread()\n",
        "        return self._thread.ident == threading.get_ident()\n",
    ),
    Mutant(
        "what was left is not undone",
        "eventstore/tables/state.py",
        "            self.rollback()\n        journal.is_replaying = is_replaying\n",
        "            journal.changes = []\n        journal.is_replaying = is_replaying\n",
    ),
    Mutant(
        "a negative timeout waits",
        "eventstore/locks.py",
        "    if not seconds >= 0:\n",
        "    if False:\n",
    ),
    # Calls amid others, forks, threads that can't be started
    Mutant(
        "a call amid another one waits for itself",
        "eventstore/locks.py",
        "    if lock._is_owned():  # type",
        "    if False:  # type",
    ),
    Mutant(
        "a view's lock is inherited by the child of a fork",
        "eventstore/tables/view.py",
        "        process = os.getpid()\n",
        "        process = 0\n",
    ),
    Mutant(
        "a thread that can't be started ends the commit",
        "eventstore/maintenance/background.py",
        "            if not isinstance(error, RuntimeError):\n",
        "            if True:\n",
    ),
    Mutant(
        "a thread that can't be started ends the commit that needs a segment",
        "eventstore/log/preparer.py",
        "            if not isinstance(error, RuntimeError):\n",
        "            if True:\n",
    ),
    # Making a store at a path
    Mutant(
        "a half made store may be opened",
        "eventstore/directory/contents.py",
        "    if not file_system.exists(mark):\n        return\n",
        "    return\n",
    ),
    Mutant(
        "the place is not looked at again under the lock",
        "eventstore/directory/hold.py",
        "    try:\n        require(guarded)\n",
        "    try:\n        pass\n",
    ),
    Mutant(
        "the mark goes before what was written is gone",
        "eventstore/directory/making.py",
        "    _clear(guarded, path)\n    _remove_mark(guarded, path)\n",
        "    _remove_mark(guarded, path)\n    _clear(guarded, path)\n",
    ),
    Mutant(
        "what was written is gone in the cache only when the mark goes",
        "eventstore/directory/making.py",
        "                guarded.remove_directory(directory)\n    guarded.sync_directory(path)\n",
        "                guarded.remove_directory(directory)\n",
    ),
    Mutant(
        "what a making has left is not cleared away",
        "eventstore/directory/making.py",
        "                _clear(guarded, path)\n                sync_names_above",
        "                sync_names_above",
    ),
    Mutant(
        "a failed repair leaves the detached batches",
        "eventstore/directory/making.py",
        "    _clear_beside(guarded, path)\n    _clear(guarded, path)\n",
        "    _clear(guarded, path)\n",
    ),
    Mutant(
        "the file beside a store may be there before the mark names it",
        "eventstore/directory/making.py",
        "        mark.sync()\n        try:\n",
        "        try:\n",
    ),
    Mutant(
        "a mark is written anew before what the old one names is gone",
        "eventstore/directory/making.py",
        "                _clear_beside(guarded, path)\n"
        "                _mark(guarded, path, purpose)\n",
        "                _mark(guarded, path, purpose)\n"
        "                _clear_beside(guarded, path)\n",
    ),
    Mutant(
        "the file beside a store is gone in the cache only when the mark is written anew",
        "eventstore/directory/making.py",
        "        guarded.sync_directory(parent(beside))\n",
        "",
    ),
    Mutant(
        "any mark gives away the file beside",
        "eventstore/directory/making.py",
        "    if _claim(beside) in lines[1:]:\n",
        "    if lines:\n",
    ),
    Mutant(
        "a mark goes on naming a file that somebody else has put there",
        "eventstore/directory/making.py",
        "            mark.truncate(mark_bytes)\n",
        "",
    ),
    Mutant(
        "files that no store has are built upon",
        "eventstore/directory/making.py",
        "        taken = [entry for entry in taken if not entry.is_made]\n",
        "        taken = []\n",
    ),
    Mutant(
        "the lock goes before a store is made",
        "eventstore/backend/file_log.py",
        "            if self._ends_hold:\n                self._file_system.release()\n",
        "            self._file_system.release()\n",
    ),
    Mutant(
        "a forked child holds its parent's lock",
        "eventstore/files/handles.py",
        "        return bool(self._locked) and os.getpid() == self._process\n",
        "        return bool(self._locked)\n",
    ),
    Mutant(
        "what was released can still be changed",
        "eventstore/files/guarded.py",
        "        if not self._lock.is_held:\n            raise",
        "        if False:\n            raise",
    ),
    Mutant(
        "the holder goes by path",
        "eventstore/files/guarded.py",
        "            return GuardedPath(path, self._path, self._lock)\n",
        "            return path\n",
    ),
    Mutant(
        "a store of another user is written to",
        "eventstore/directory/contents.py",
        "        if file_system.is_directory(directory) and not file_system.owns(directory):\n",
        "        if False:\n",
    ),
    Mutant(
        "directories that were there stay open to others",
        "eventstore/recovery/execute.py",
        "            file_system.make_private(directory)\n",
        "            pass\n",
    ),
    Mutant(
        "all of a lock file is read",
        "eventstore/files/local.py",
        "            return read_file(self, path, _DESCRIPTION_BYTES_MAX)\n",
        "            return read_file(self, path)\n",
    ),
    Mutant(
        "a nested lock file is believed to be flat",
        "eventstore/directory/hold.py",
        "    except (ValueError, KeyError, TypeError, RecursionError):\n",
        "    except (ValueError, KeyError, TypeError):\n",
    ),
    Mutant(
        "an error of a signal handler is taken for one of the value",
        "eventstore/tables/values.py",
        "_UNFIT = (ArithmeticError, AttributeError, LookupError, StopIteration, ",
        "_UNFIT = (Exception, ",
    ),
    Mutant(
        "no memory is taken for a projection that can't replay",
        "eventstore/recovery/replay.py",
        "_EXHAUSTED = (MemoryError, RecursionError)\n",
        "_EXHAUSTED = (RecursionError,)\n",
    ),
    Mutant(
        "damage met in a replay is laid to the projection",
        "eventstore/recovery/replay.py",
        " or isinstance(error, CorruptionError):\n",
        ":\n",
    ),
    Mutant(
        "keys of a checkpoint are of any type",
        "eventstore/format/codec.py",
        "    if not _KEY_TYPES.issuperset(kinds):\n        raise Decode",
        "    if False:\n        raise Decode",
    ),
    Mutant(
        "keys of a checkpoint are in any order",
        "eventstore/format/codec.py",
        "        ascend = keys == sorted(keys)\n",
        "        ascend = bool(sorted(keys)) or True\n",
    ),
    Mutant(
        "a batch nests as deep as it likes",
        "eventstore/format/codec.py",
        "    _require_shallow(payload, batch)\n",
        "",
    ),
    Mutant(
        "a bytearray in an event passes for bytes",
        "eventstore/format/codec.py",
        "_NO_BINARY = bytes([*range(0xC4), ",
        "_NO_BINARY = bytes([*range(0xC7), ",
    ),
    Mutant(
        "an extension type in an event passes for plain data",
        "eventstore/format/codec.py",
        "_NO_BINARY = bytes([*range(0xC4), *range(0xCA, 0xD4), ",
        "_NO_BINARY = bytes([*range(0xC4), *range(0xC7, 0xD9), ",
    ),
    Mutant(
        "an event nests as deep as it likes",
        "eventstore/format/codec.py",
        "            and len(packed.translate(None, _NO_CONTAINERS)) > NESTING_LEVELS_MAX\n",
        "            and False\n",
    ),
    Mutant(
        "an extension type of msgpack is unpacked",
        "eventstore/format/codec.py",
        "            ext_hook=_no_extension,\n",
        "",
    ),
    Mutant(
        "a chunk states another first key than it holds",
        "eventstore/tables/packed.py",
        "        if keys[:1] != [self.first_key] or not are_ends",
        "        if not are_ends",
    ),
    Mutant(
        "a chunk holds more values than keys",
        "eventstore/tables/packed.py",
        "[self.first_key] or not are_ends(self._ends, len(keys)):\n",
        "[self.first_key]:\n",
    ),
    Mutant(
        "a key of another type is an error once the rows are packed",
        "eventstore/tables/packed.py",
        "        except (TypeError, UnicodeEncodeError):",
        "        except UnicodeEncodeError:",
    ),
    Mutant(
        "what decode raises for a hostile row goes through",
        "eventstore/tables/values.py",
        "        except (*FAILURES, DecodeError) as error:\n",
        "        except DecodeError as error:\n",
    ),
    Mutant(
        "a table list of a checkpoint may name anything",
        "eventstore/checkpoints/reader.py",
        "        if tuple(map(type, name)) != (str, int, str):\n",
        "        if False:\n",
    ),
    Mutant(
        "a table list of a checkpoint may name a table twice",
        "eventstore/checkpoints/reader.py",
        "    if len({name.table for name in names}) != len(names):\n",
        "    if False:\n",
    ),
    Mutant(
        "a pipe in the place of a database is waited for",
        "projections/snapshots/importer.py",
        " | os.O_NONBLOCK",
        "",
    ),
    Mutant(
        "a device is read as a database",
        "projections/snapshots/importer.py",
        "    if not stat.S_ISREG(status.st_mode):\n",
        "    if False:\n",
    ),
    Mutant(
        "a database of any length is read",
        "projections/snapshots/importer.py",
        "    if status.st_size > _BATCH_BYTES_LIMIT:\n",
        "    if False:\n",
    ),
    Mutant(
        "a check that an import makes starts a process that makes it again",
        "eventstore/testing/elsewhere.py",
        "    if is_child:\n",
        "    if False:\n",
    ),
    Mutant(
        "a verification says that every history begins at 1",
        "eventstore/integrity/verification.py",
        "            first_revision=first_revision_of(sources),\n",
        "            first_revision=1,\n",
    ),
    Mutant(
        "a count of one is in the plural",
        "tools/cli/snapledger/wording.py",
        "if count == 1 else",
        "if False else",
    ),
    Mutant(
        "a store that is closed inside a transaction speaks of beginning one",
        "eventstore/handle/writer_lock.py",
        "                if asking.is_of_store and not turn.is_of_store:\n",
        "                if False:\n",
    ),
    Mutant(
        "a projection is blamed for an interpreter without room",
        "eventstore/recovery/replay.py",
        "        if isinstance(error, _EXHAUSTED):\n",
        "        if False:\n",
    ),
    Mutant(
        "a snapshot event that lacks a field is a bare KeyError",
        "projections/snapshots/projection.py",
        "        except _REFUSALS as error:\n",
        "        except ZeroDivisionError as error:\n",
    ),
    Mutant(
        "a snapshot event without an id stops the history",
        "projections/snapshots/events.py",
        'event.data.get("id") if',
        'event.data["id"] if',
    ),
    Mutant(
        "the command line tells which call of the library to make",
        "tools/cli/snapledger/failures.py",
        "    remedy = _REMEDIES.get(type(error)) if error.remedy else None\n",
        "    return str(error)\n    remedy = None\n",
    ),
    Mutant(
        "what root makes in a store of another user is root's",
        "eventstore/files/descriptors.py",
        "        if owner.st_uid != 0:\n",
        "        if False:\n",
    ),
    Mutant(
        "root gives away a lock file that was there",
        "eventstore/files/local.py",
        "            return flocked(path, os.O_RDWR)\n        if descriptor is not None:\n",
        "            descriptor = flocked(path, os.O_RDWR)\n        if descriptor is not None:\n",
    ),
    Mutant(
        "a quick verification takes a segment of any length",
        "eventstore/integrity/verification.py",
        "        if size_bytes < end_bytes:\n",
        "        if False:\n",
    ),
    Mutant(
        "a quick verification does not count what it leaves unread",
        "eventstore/integrity/verification.py",
        "                self.unread_segments += 1\n",
        "",
    ),
    # What a reader believes of a segment, and how it goes on
    Mutant(
        "a cursor goes on to the segment that it has just read",
        "eventstore/log/cursor.py",
        "is_continued = self.next_revision > header.first_revision and any(",
        "is_continued = any(",
    ),
    Mutant(
        "a segment of another store is read by its own seed",
        "eventstore/log/reader.py",
        "    if header.store_id != store_id:\n",
        "    if header.store_id == b'':\n",
    ),
    Mutant(
        "a segment is believed under any name",
        "eventstore/log/reader.py",
        "    elif header.first_revision != first_revision:\n",
        "    elif header.first_revision < 0:\n",
    ),
    Mutant(
        "the first segment may start any chain",
        "eventstore/log/reader.py",
        "    elif first_revision == 1 and header.predecessor_digest != genesis_digest(store_id):\n",
        "    elif first_revision == 0:\n",
    ),
    # What a projection may call
    Mutant(
        "apply may emit into its transaction",
        "eventstore/handle/write_transaction.py",
        "        if self._is_changing:\n            self._refuse_amid_a_change()\n"
        "        self._is_changing = True\n"
        "        self._begun()\n",
        "        self._is_changing = True\n        self._begun()\n",
    ),
    Mutant(
        "apply may commit its transaction",
        "eventstore/handle/write_transaction.py",
        "        if self._is_changing:\n            self._refuse_amid_a_change()\n"
        "        self._is_changing = True\n"
        "        turn = self._begun()\n"
        "        if not",
        "        self._is_changing = True\n        turn = self._begun()\n        if not",
    ),
    Mutant(
        "apply may roll its transaction back",
        "eventstore/handle/write_transaction.py",
        "        if self._is_changing:\n            self._refuse_amid_a_change()\n"
        "        self._is_changing = True\n"
        "        self._roll_back()",
        "        self._is_changing = True\n        self._roll_back()",
    ),
    Mutant(
        "an interrupted change counts as one that goes on",
        "eventstore/handle/write_transaction.py",
        "if _is_called_by_a_change():",
        "if True:",
    ),
    Mutant(
        "apply may enter its transaction again",
        "eventstore/handle/write_transaction.py",
        "            self._refuse_amid_a_change()\n        self._enter",
        "            pass\n        self._enter",
    ),
    # What is no file in the place of one
    Mutant(
        "a follower does not look for what an open would refuse as no store",
        "eventstore/backend/follower.py",
        "        require_files(file_system, path)\n",
        "",
    ),
    Mutant(
        "a verification does not look for what an open would refuse as no store",
        "eventstore/integrity/verify.py",
        "    require_files(file_system, directory)\n",
        "",
    ),
    Mutant(
        "a holder describes itself to a device",
        "eventstore/files/local.py",
        "            if self.exists(guarded_path) and not self.is_file(guarded_path):\n",
        "            if self.is_directory(guarded_path):\n",
    ),
    Mutant(
        "what is no lock file is the system's error",
        "eventstore/directory/hold.py",
        "                require_lock_file(file_system, path)\n                raise\n",
        "                raise\n",
    ),
    # Arguments
    Mutant(
        "a making takes anything for its purpose",
        "eventstore/handle/opening.py",
        '    checked_text(purpose, "purpose")\n',
        "",
    ),
    Mutant(
        "a repair takes anything for its options",
        "eventstore/integrity/repair.py",
        "    options = checked_options(options)\n",
        "    from eventstore.options import StoreOptions\n"
        "    options = options or StoreOptions()\n",
    ),
    Mutant(
        "a bad timeout is shown whole",
        "eventstore/locks.py",
        "or None, not {excerpt(seconds)}",
        "or None, not {seconds!r}",
    ),
    # What a verification asks
    Mutant(
        "a verification does not ask the projections",
        "eventstore/integrity/replay.py",
        "                self._problems.add_all(self._comparison.projections_own(self._path))\n",
        "                pass\n",
    ),
    Mutant(
        "a verification ends with what a projection's check raises",
        "eventstore/tables/state.py",
        "except Exception as error:  # a user's code, which may raise any: it is told of",
        "except AssertionError as error:",
    ),
    Mutant(
        "a repair fails for what a projection finds wrong",
        "eventstore/integrity/repair.py",
        "projections, asks_projections=False)",
        "projections)",
    ),
    Mutant(
        "a second process is believed that began at rows which are only equal",
        "eventstore/integrity/replay.py",
        "if self._comparison.is_at(digest) and self._comparison.is_exact:",
        "if self._comparison.is_at(digest):",
    ),
    Mutant(
        "the rest is handed over of a replay that has ended",
        "eventstore/integrity/replay.py",
        "if self._comparison.is_at(digest) and self._comparison.is_exact:",
        "if self._comparison.is_exact:",
    ),
    Mutant(
        "a second process is believed wherever it has come to",
        "eventstore/integrity/replay.py",
        "if not result.is_clean or result.revision < last:",
        "if not result.is_clean:",
    ),
    Mutant(
        "what a second process has found is not told",
        "eventstore/integrity/replay.py",
        "if not result.is_clean or result.revision < last:",
        "if result.revision < last:",
    ),
    Mutant(
        "a second process does not compare later checkpoints",
        "eventstore/integrity/later.py",
        "for one in self._files.get(record.digest, ()):",
        "for one in ():",
    ),
    Mutant(
        "nobody compares the indexes of later segments",
        "eventstore/integrity/later.py",
        "self._is_clean &= index is None or index.damage() is None",
        "pass",
    ),
    Mutant(
        "a second process asks no projection",
        "eventstore/integrity/later.py",
        "if self._part.asks_projections:",
        "if not self._part:",
    ),
    Mutant(
        "a verification finds that NaN differs from itself",
        "eventstore/integrity/comparison.py",
        "    if held == replayed:",
        "    if not held:",
    ),
    Mutant(
        "a part of an archived block is taken for all of it",
        "eventstore/log/segments.py",
        "if kept is not None and len(kept) >= size_bytes:",
        "if kept is not None:",
    ),
    Mutant(
        "an erasure that was committed behind the end of what was read does not vouch",
        "eventstore/integrity/verification.py",
        "        self._take_in_erasures_since()\n",
        "",
    ),
    Mutant(
        "what a writer has taken away amid a verification is damage",
        "eventstore/integrity/verify.py",
        "if report.is_sound or not verification.was_overtaken():",
        "if report is not None:",
    ),
    Mutant(
        "an interrupt reaches a second process that has just begun",
        "eventstore/integrity/later.py",
        "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))",
        "signal.pthread_sigmask(signal.SIG_BLOCK, ())",
    ),
    Mutant(
        "a second process outlives the first",
        "eventstore/integrity/later.py",
        "    threading.Thread(target=_end_with_parent, daemon=True).start()\n",
        "",
    ),
    Mutant(
        "a second process that was stopped is waited for",
        "eventstore/integrity/later.py",
        "self._process.kill()",
        "self._process.terminate()",
    ),
    Mutant(
        "replay compares with what was committed since",
        "tools/cli/snapledger/replay.py",
        "with now if revision == now.revision else opened.at(revision) as held:",
        "with opened.transaction() if moment is None else opened.at(revision) as held:",
    ),
    Mutant(
        "replay calls different what was erased while it read",
        "tools/cli/snapledger/replay.py",
        "if not found.differing or _last_erasure(store) == before:",
        "if found is not None:",
    ),
    Mutant(
        "replay lets a state that differs pass for one that is overtaken",
        "tools/cli/snapledger/replay.py",
        "if not found.differing or _last_erasure(store) == before:",
        "if not found.differing:",
    ),
    Mutant(
        "a close leaves many batches without an index",
        "eventstore/handle/upkeep.py",
        "                if self._log.unindexed_count >= _INDEXED_AT_CLOSE_MIN:\n",
        "                if self._log.is_index_behind:\n",
    ),
    Mutant(
        "a close indexes what others have appended",
        "eventstore/backend/file_log.py",
        "max(self._indexed_revision, self._opened_revision)",
        "self._indexed_revision",
    ),
    Mutant(
        "a verification compares only whole lots of digests with the leaves",
        "eventstore/integrity/verification.py",
        "        self._compare_leaves(scanner.position.revision, digests)\n",
        "",
    ),
    Mutant(
        "a verification counts the checkpoint that its replay began at as compared",
        "eventstore/integrity/comparison.py",
        "if checkpoint.revision != self._start and (tables",
        "if (tables",
    ),
    Mutant(
        "a verification does not name the projections that it does not know",
        "eventstore/integrity/comparison.py",
        "for name in held - self._known}",
        "for name in held & self._known}",
    ),
    Mutant(
        "check calls a store sound whose tables it has not compared",
        "tools/cli/snapledger/check.py",
        "report.is_full and not report.unknown_projections",
        "report.is_full",
    ),
    Mutant(
        "a program without an output says that it has done what it was told",
        "tools/cli/snapledger/program.py",
        "    if sys.stdout is None:\n",
        "    if False:\n",
    ),
    Mutant(
        "a file of a store that can't be read is blamed for all of it",
        "tools/cli/snapledger/reading.py",
        "    except PermissionError as error:\n",
        "    except FileExistsError as error:\n",
    ),
    Mutant(
        "what is no store is called one by who would make one there",
        "eventstore/directory/making.py",
        "is_store = any(entry.is_made for entry in taken)",
        "is_store = True",
    ),
    # The kit
    Mutant(
        "the kit does not see that execute changes its command",
        "eventstore/testing/replay.py",
        'raise CommandChangedError("execute", shown_command, accepted, command)',
        "pass",
    ),
    Mutant(
        "the kit does not see that expect changes its command",
        "eventstore/testing/replay.py",
        'raise CommandChangedError("expect", shown_command, accepted, command)',
        "pass",
    ),
    Mutant(
        "the kit does not tell events that a refused command has left",
        "eventstore/testing/replay.py",
        "                if self._emitted() > emitted:\n",
        "                if False:\n",
    ),
    Mutant(
        "the kit takes tables that differ from read to read",
        "eventstore/testing/purity.py",
        "        if first != again:\n",
        "        if False:\n",
    ),
    Mutant(
        "the kit does not tell that apply has emitted",
        "eventstore/testing/purity.py",
        "            if isinstance(error, ReentrantUseError):\n",
        "            if False:\n",
    ),
    Mutant(
        "the kit prints what is no program without a word",
        "eventstore/testing/consistency.py",
        "    unable = no_python(program_text) or not_made(domain)\n",
        "    unable = not_made(domain)\n    _ = no_python\n",
    ),
    Mutant(
        "the kit says nothing where most commands were refused",
        "eventstore/testing/consistency.py",
        "        if self.refused * 2 > self.commands:\n",
        "        if False:\n",
    ),
    Mutant(
        "the locks of tables stay as they were in the child of a fork",
        "eventstore/handle/reading.py",
        "            self._process().call_in_forked_child(table.renew_lock)\n",
        "            pass\n",
    ),
    Mutant(
        "an error without a text has none",
        "eventstore/errors.py",
        "    return str(error) or type(error).__name__\n",
        "    return str(error)\n",
    ),
    # Proofs
    Mutant(
        "segments are dropped whose leaves are not saved",
        "eventstore/maintenance/compaction.py",
        "        return self._drops and following.first_revision - 1 <= self._kept_leaves\n",
        "        return self._drops\n",
    ),
    Mutant(
        "no directory sync after leaves were saved",
        "eventstore/proofs/leaf_files.py",
        "    file_system.rename(temporary, written.path)\n"
        "    file_system.sync_directory(directory)\n",
        "    file_system.rename(temporary, written.path)\n",
    ),
    Mutant(
        "leaf files of another history are believed",
        "eventstore/proofs/store_tree.py",
        "            if digest != self.digest(covered):\n",
        "            if False:\n",
    ),
    Mutant(
        "leaves that the writer does not continue are believed",
        "eventstore/proofs/store_tree.py",
        "        if start <= last and previous_digest not in (None, known_digest):\n",
        "        if False:\n",
    ),
    Mutant(
        "batches are dropped although the log behind them is damaged",
        "eventstore/backend/file_log.py",
        "        if options.retention.drops:\n",
        "        if False:\n",
    ),
    Mutant(
        "digests that the writer has dropped are not read from the log",
        "eventstore/proofs/store_tree.py",
        "        if first < start:\n",
        "        if False:\n",
    ),
    Mutant(
        "leaves are given up for a medium that fails once",
        "eventstore/proofs/store_tree.py",
        "                if self._unread is not None:\n"
        "                    raise self._unread from None\n"
        "                raise\n",
        "                raise\n",
    ),
    Mutant(
        "a known key's bad signature is passed over",
        "eventstore/proofs/note.py",
        "        if not key.holds(signature, message):\n",
        "        if False:\n",
    ),
    Mutant(
        "base64 in another spelling is read",
        "eventstore/proofs/encoding.py",
        "    if data is None or to_base64(data) != text:\n",
        "    if data is None:\n",
    ),
    Mutant(
        "a head of another origin is taken for the key's",
        "eventstore/proofs/texts.py",
        "    if origin != key.name:\n",
        "    if False:\n",
    ),
    Mutant(
        "a proof from another size than the old head's is believed",
        "eventstore/proofs/tree.py",
        "        if old.size != self.old_size:\n",
        "        if False:\n",
    ),
    # The past
    Mutant(
        "an index of another history is used",
        "eventstore/past/indexes.py",
        """        return end is not None and (end.revision, end.digest) == (
            header.last_revision,
            header.digest,
        )
""",
        "        return end is not None\n",
    ),
    Mutant(
        "an index of other projections is used",
        "eventstore/past/indexes.py",
        "        if not self.terms.covers(header.projections):\n            return False\n",
        "",
    ),
    Mutant(
        "a page of an index is believed",
        "eventstore/format/index.py",
        "if len(body) % _VALUE_BYTES or crc32(body, seed)",
        "if len(body) % _VALUE_BYTES or False and crc32(body, seed)",
    ),
    Mutant(
        "the index of a dropped segment stays",
        "eventstore/past/indexes.py",
        "            if first_revision is not None and first_revision not in kept:\n",
        "            if first_revision is None:\n",
    ),
    Mutant(
        "a verification does not compare an index",
        "eventstore/past/checking.py",
        "        if self._made is not None and self._made.pack() != self._packed:\n",
        "        if False:\n",
    ),
    Mutant(
        "a block may begin anywhere",
        "eventstore/past/past.py",
        "        if not records and number:\n            raise _WrongIndexError\n",
        "",
    ),
    Mutant(
        "the time that an index states is believed",
        "eventstore/past/past.py",
        "        if found < start and start > part.first:  # the index is wrong\n",
        "        if False:\n",
    ),
    Mutant(
        "the header of an archive file is believed",
        "eventstore/format/archive.py",
        "    if zlib.crc32(header[: -UINT32.size]) != UINT32.unpack(header[-UINT32.size :])[0]:\n",
        "    if False:\n",
    ),
    Mutant(
        "a commit wakes nobody",
        "eventstore/files/handles.py",
        "        self._futex.wake()\n",
        "",
    ),
    Mutant(
        "a close amid a watch's reading is told as an error",
        "eventstore/handle/watching.py",
        "                return None\n            raise_if_gone(error)\n",
        "                raise\n            raise_if_gone(error)\n",
    ),
    Mutant(
        "a damaged segment keeps the indexes of the others from being made",
        "eventstore/past/indexes.py",
        "        except CorruptionError as error:\n            self._unindexed.add",
        "        except ZeroDivisionError as error:\n            self._unindexed.add",
    ),
    Mutant(
        "a watch forgets the batches that it was about to give",
        "eventstore/handle/watching.py",
        "        self._batches = batches_left\n        self.next_revision = batch.revision + 1\n",
        "        self._batches = None\n        self.next_revision = self._shown_revision() + 1\n",
    ),
    Mutant(
        "the story of a snapshot ends at its rename",
        "projections/snapshots/events.py",
        '    for field in ("key", "name"):\n',
        '    for field in ("name",):\n',
    ),
    # Events of older versions
    Mutant(
        "projections are given events as they were emitted",
        "eventstore/tables/state.py",
        "upcast(event, upcasters) if upcasters else event",
        "event",
    ),
    Mutant(
        "readers of the history are shown events as they were emitted",
        "eventstore/upcasting.py",
        "    if not upcasters:\n        return batch\n",
        "    if batch:\n        return batch\n",
    ),
    Mutant(
        "keys are asked of events as they were emitted",
        "eventstore/past/terms.py",
        "projection.keys(upcast(event, projection.upcasters))",
        "projection.keys(event)",
    ),
    Mutant(
        "projections may read one event in two ways",
        "eventstore/upcasting.py",
        "together.setdefault(place, upcaster) is not upcaster",
        "together.setdefault(place, upcaster) is None",
    ),
    # The engine's own events
    Mutant(
        "archived batches are dropped whether or not that was said",
        "eventstore/maintenance/compaction.py",
        "        if not self._are_said(dropped, following):\n            return 0\n",
        "        self._are_said(dropped, following)\n",
    ),
    Mutant(
        "batches are dropped without being archived, and nothing says so",
        "eventstore/maintenance/compaction.py",
        "        self._drops = self._drops and self._are_said(going, after)\n",
        "        _ = going, after\n",
    ),
    Mutant(
        "projections are given the engine's own events",
        "eventstore/tables/state.py",
        "        if journal.is_replaying and is_engine_event(event):\n            return\n",
        "",
    ),
    Mutant(
        "projections are asked for keys of the engine's own events",
        "eventstore/past/terms.py",
        "if not is_engine_event(event)]",
        "if event]",
    ),
    Mutant(
        "anybody may emit events like the engine's own",
        "eventstore/handle/write_transaction.py",
        "        if event.type.startswith(ENGINE_PREFIX):",
        "        if False:",
    ),
    Mutant(
        "a compaction waits for the writer lock as long as it takes",
        "eventstore/handle/maintaining.py",
        "metadata, _SAY_SECONDS) as transaction",
        "metadata) as transaction",
    ),
    Mutant(
        "a release closes what another thread is about to use",
        "eventstore/files/handles.py",
        "                locked.unlock()\n",
        "                locked.unlock()\n                locked.close()\n",
    ),
    Mutant(
        "an iteration ends silently where decode raises StopIteration",
        "eventstore/tables/values.py",
        "                if len(values) == len(keys) and bytes not in",
        "                if bytes not in",
    ),
    Mutant(
        "an entry that can't be compared is told as an error of Python",
        "eventstore/tables/index.py",
        "                has_entry = entry in frozenset(found)\n"
        "            except RecursionError:  # of whoever called from too deep\n"
        "                raise\n"
        "            except FAILURES as error:\n",
        "                has_entry = entry in frozenset(found)\n"
        "            except RecursionError as error:\n",
    ),
    Mutant(
        "a limit on files is told as an error of the system",
        "eventstore/files/failures.py",
        "    if error.errno in _LIMITS and not isinstance(error, SystemLimitError):\n",
        "    if False:\n",
    ),
    Mutant(
        "a repair unpacks all of a bomb that is no whole archive file",
        "eventstore/log/segments.py",
        "    left_bytes = min(SEGMENT_BYTES_LIMIT, bound)\n",
        "    left_bytes = SEGMENT_BYTES_LIMIT\n",
    ),
    Mutant(
        "a repair unpacks all of an archive file that holds no segment",
        "eventstore/log/segments.py",
        "    if not source.is_archived or _has_header(file):\n",
        "    if True:\n",
    ),
    Mutant(
        "a file that may not be read is told as an error of the system",
        "eventstore/files/failures.py",
        "    except PermissionError as error:\n        raise ForeignOwnerError(",
        "    except ZeroDivisionError as error:\n        raise ForeignOwnerError(",
    ),
    Mutant(
        "an exhausted stack is told as damage of a checkpoint",
        "eventstore/tables/values.py",
        "        except RecursionError:  # of whoever called from too deep\n            raise\n",
        "",
    ),
    Mutant(
        "a link in the place of a request is followed",
        "eventstore/maintenance/requests.py",
        "        if not self._file_system.is_file(self._request_path):\n",
        "        if not self._file_system.exists(self._request_path):\n",
    ),
    Mutant(
        "an open leaves the requests that were made to the last holder",
        "eventstore/recovery/execute.py",
        "            is_message = directory == path and name in (REQUEST_NAME, ANSWER_NAME)\n",
        "            is_message = False\n",
    ),
    Mutant(
        "who asks takes the answer to another request for its own",
        "eventstore/maintenance/requests.py",
        "answer is not None and answer.token == self._token else None",
        "answer is not None else None",
    ),
    Mutant(
        "a label ends the data of a report",
        "tools/cli/snapledger/report.py",
        '    for character in "<>&":\n',
        '    for character in "&":\n',
    ),
    Mutant(
        "commands that commit by themselves may commit several batches",
        "eventstore/testing/replay.py",
        "        if head.revision > revision + 1:\n",
        "        if False:\n",
    ),
    Mutant(
        "the kit does not ask for the keys of what is applied",
        "eventstore/testing/purity.py",
        "        _require_sound_keys(self._projection, event)\n",
        "",
    ),
    Mutant(
        "the kit takes keys that differ from asking to asking",
        "eventstore/testing/purity.py",
        "    if set(first) != set(again):\n",
        "    if False:\n",
    ),
    Mutant(
        "watched projections name no keys",
        "eventstore/testing/purity.py",
        "        return self._projection.keys(event)\n",
        "        return ()\n",
    ),
    Mutant(
        "a prepared directory's name is not synced",
        "tools/cli/snapledger/snapshotter/directories.py",
        "(*reversed(filled), self.path)\n",
        "reversed(filled)\n",
    ),
    Mutant(
        "an ext4 without a journal is taken for one that keeps an order",
        "tools/cli/snapledger/snapshotter/directories.py",
        "            return _has_journal(os.stat(path).st_dev)\n",
        "            return True\n",
    ),
    Mutant(
        "the directory of snapshots is synced by whoever makes it alone",
        "tools/cli/snapledger/snapshotter/directories.py",
        "        self._sync(os.path.dirname(path))\n",
        "",
    ),
    Mutant(
        "a stage is a leftover while it is worked on",
        "tools/cli/snapledger/snapshotter/metadata.py",
        " if not directories.is_kept(name)]\n",
        "]\n",
    ),
    Mutant(
        "a commit of unknown fate loses its directory",
        "tools/cli/snapledger/snapshotter/metadata.py",
        "            except (*_CHANGED_NOTHING, _ParentReplacedError, _NumberTakenError):\n",
        "            except BaseException:\n",
    ),
    Mutant(
        "a start does not look for lost renames",
        "tools/cli/snapledger/snapshotter/settling.py",
        "        if stage in stages:\n",
        "        if False:\n",
    ),
    Mutant(
        "a start removes what it knows nothing of",
        "tools/cli/snapledger/snapshotter/leftovers.py",
        " if removal is not None}\n",
        "}\n",
    ),
    Mutant(
        "what can't be removed keeps a driver from starting",
        "tools/cli/snapledger/snapshotter/leftovers.py",
        "    except OSError as error:\n",
        "    except FileNotFoundError as error:\n",
    ),
    Mutant(
        "a root is served with another strategy",
        "tools/cli/snapledger/snapshotter/recorded.py",
        "    if found != strategy:\n",
        "    if False:\n",
    ),
    Mutant(
        "the record of a strategy is not synced",
        "tools/cli/snapledger/snapshotter/replacing.py",
        "        os.fsync(descriptor)\n",
        "",
    ),
    Mutant(
        "the name of a strategy's record is not synced",
        "tools/cli/snapledger/snapshotter/replacing.py",
        "    sync(os.path.dirname(path))\n",
        "",
    ),
    Mutant(
        "a native root is given back",
        "tools/cli/snapledger/snapshotter/takeover.py",
        '            check_strategy(root, _STRATEGY, store, f"{root}/{SNAPSHOTS}")\n',
        "",
    ),
    Mutant(
        "a start hears no signal",
        "tools/cli/snapledger/snapshotter/stopping.py",
        "            raise KeyboardInterrupt\n",
        "            pass\n",
    ),
    Mutant(
        "a second signal cuts the clean-up short",
        "tools/cli/snapledger/snapshotter/stopping.py",
        "            self._interrupts = False\n            raise",
        "            raise",
    ),
    Mutant(
        "a driver that nobody finds goes on",
        "tools/cli/snapledger/snapshotter/program.py",
        "        is_found = server.is_reachable()\n",
        "        pass\n",
    ),
    Mutant(
        "a driver that ends before it has served leaves its socket",
        "tools/cli/snapledger/snapshotter/serving.py",
        "            os.unlink(self.address)\n",
        "            pass\n",
    ),
    Mutant(
        "a mapping gives a directory to nobody",
        "tools/cli/snapledger/snapshotter/strategy.py",
        "_OWNER_MAX = 2**32 - 2\n",
        "_OWNER_MAX = 2**32 - 1\n",
    ),
    Mutant(
        "readers that pause hold up all calls",
        "tools/cli/snapledger/snapshotter/service.py",
        '        vars(answer_list)["experimental_thread_pool"] = self._lists\n',
        "",
    ),
    Mutant(
        "a reader that pauses is never let go",
        "tools/cli/snapledger/snapshotter/streaming.py",
        "        self._cancel()\n",
        "",
    ),
    Mutant(
        "a reader that is slow is let go",
        "tools/cli/snapledger/snapshotter/service.py",
        "                note_read()\n",
        "",
    ),
    Mutant(
        "a copy outlives its driver",
        "tools/cli/snapledger/snapshotter/copying.py",
        "        [*_prefix(), *copying],\n",
        "        copying,\n",
    ),
    Mutant(
        "what cp says depends on the language",
        "tools/cli/snapledger/snapshotter/copying.py",
        '        env={**os.environ, "LC_ALL": "C"},',
        "        env=os.environ,",
    ),
    Mutant(
        "a stage that could not get its name is a leftover",
        "tools/cli/snapledger/snapshotter/settling.py",
        "        directories.keep(stage)\n",
        "",
    ),
    Mutant(
        "a root is given back although a directory has no name yet",
        "tools/cli/snapledger/snapshotter/takeover.py",
        "    if settled.unnamed:",
        "    if False:",
    ),
    Mutant(
        "a snapshot gets the number of something that is there",
        "tools/cli/snapledger/snapshotter/metadata.py",
        "                    if self._directories.is_there(snapshot.id):\n",
        "                    if False:\n",
    ),
    Mutant(
        "a socket that somebody listens on is taken",
        "tools/cli/snapledger/snapshotter/place.py",
        "        except ConnectionRefusedError:\n"
        "            os.unlink(address)\n            return\n",
        "        finally:\n            os.unlink(address)\n        return\n",
    ),
    Mutant(
        "a second driver may have the root",
        "tools/cli/snapledger/snapshotter/place.py",
        "            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
    ),
    Mutant(
        "what is at a root that is none is made",
        "tools/cli/snapledger/snapshotter/takeover.py",
        '    if not any(os.path.lexists(f"{root}/{name}") for name in (DATABASE, METADATA)):\n',
        "    if False:\n",
    ),
    Mutant(
        "a history that is given back takes the name of an earlier one",
        "tools/cli/snapledger/snapshotter/takeover.py",
        'kept = free(f"{metadata}.given-back-{now.revision}")\n',
        'kept = f"{metadata}.given-back-{now.revision}"\n',
    ),
    Mutant(
        "a take-over takes any store for one that it has made",
        "tools/cli/snapledger/snapshotter/takeover.py",
        "    if not is_same:\n",
        "    if False:\n",
    ),
    Mutant(
        "a take-over that was cut short counts as given back",
        "tools/cli/snapledger/snapshotter/takeover.py",
        "        if not os.path.lexists(database):\n            raise\n",
        "        raise\n",
    ),
    Mutant(
        "who waits for a database before it is moved is not looked for",
        "tools/cli/snapledger/snapshotter/alone.py",
        "        self.require()\n        os.link(",
        "        os.link(",
    ),
    Mutant(
        "who waits for a database after it was moved is not looked for",
        "tools/cli/snapledger/snapshotter/alone.py",
        "            change()\n            self.require()\n",
        "            change()\n",
    ),
    Mutant(
        "a database that somebody waits for does not get its name back",
        "tools/cli/snapledger/snapshotter/alone.py",
        "            os.replace(self._path + OLD, self._path)\n",
        "",
    ),
    Mutant(
        "no lease is taken on a database",
        "tools/cli/snapledger/snapshotter/alone.py",
        "        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n",
        "        pass\n",
    ),
    Mutant(
        "an import ends although containerd has begun to open its database",
        "tools/cli/snapledger/snapshotter/takeover.py",
        "before_end=require_alone\n",
        "before_end=lambda: None\n",
    ),
    Mutant(
        "a kept copy is taken for one by its name",
        "tools/cli/snapledger/snapshotter/replacing.py",
        "        return file.read() == data\n",
        "        return True\n",
    ),
    Mutant(
        "what a kill has left of a file is written over, and with it what it is linked to",
        "tools/cli/snapledger/snapshotter/replacing.py",
        "            os.unlink(database + ending)\n",
        "            pass\n",
    ),
    Mutant(
        "a renaming that was killed before it could say so is not known again",
        "tools/cli/snapledger/snapshotter/renaming.py",
        "                if changed == data:\n",
        "                if False:\n",
    ),
    Mutant(
        "a repeated commit renames what has children",
        "tools/cli/snapledger/snapshotter/repeated.py",
        "    if next(transaction.walk_info(parent=earlier.name), None) is not None:\n",
        "    if False:\n",
    ),
    Mutant(
        "a message of a List may have any length",
        "tools/cli/snapledger/snapshotter/service.py",
        " or (block and size + more > LIST_BYTES):\n",
        ":\n",
    ),
    Mutant(
        "updates make labels longer than a List can carry",
        "tools/cli/snapledger/snapshotter/metadata.py",
        "            check_size(info.labels, before=before)\n",
        "",
    ),
    Mutant(
        "modes depend on the umask",
        "tools/cli/snapledger/snapshotter/strategy.py",
        "    os.chmod(path, mode)  # whatever the umask takes away\n",
        "",
    ),
    Mutant(
        "an export replaces what is there",
        "projections/snapshots/exporter.py",
        "        os.link(temporary, path)\n",
        "        os.replace(temporary, path)\n",
    ),
    Mutant(
        "a reserved id sets the counter back",
        "projections/snapshots/projection.py",
        "            if event.version == 1:  # else the id had been reserved\n",
        "            if True:\n",
    ),
    Mutant(
        "a failed block is undone although its batch may be there",
        "projections/snapshots/work.py",
        "        with self._begin_for(intent) as tx:\n            # After",
        "        with self._store.begin_read(SnapshotReadTransaction) as tx:\n            # After",
    ),
    Mutant(
        "intents that others are settling are settled again",
        "projections/snapshots/work.py",
        "            self._own.update(intent.number for intent in claimed)\n",
        "",
    ),
    Mutant(
        "a rolled back transaction forgets what was finished",
        "projections/snapshots/work.py",
        "        self._finished = left\n",
        "        self._finished = []\n",
    ),
    Mutant(
        "an intent can be fulfilled twice",
        "projections/snapshots/transaction.py",
        "        if found != intent:\n",
        "        if False:\n",
    ),
    Mutant(
        "a stray id is given to the next snapshot",
        "projections/snapshots/reconcile.py",
        "                tx.emit(events.ids_reserved(sorting.ahead))\n",
        "",
    ),
    Mutant(
        "reconcile does not wait for the running transaction",
        "projections/snapshots/reconcile.py",
        "    if store.is_writable:\n        with begin_automatic(",
        "    if False:\n        with begin_automatic(",
    ),
    Mutant(
        "what is made while the disk is listed is missing",
        "projections/snapshots/reconcile.py",
        "            if each not in moving and each in there_before\n",
        "",
    ),
    Mutant(
        "a request id answers for other content",
        "projections/snapshots/requests.py",
        "    if row[1] != content:\n",
        "    if False:\n",
    ),
    Mutant(
        "calls of one request at once all do the work",
        "projections/snapshots/driving.py",
        "            was_done = requests.is_repeat(tx, checked, digest)\n",
        "            was_done = False\n",
    ),
    Mutant(
        "a window of requests may last for ever",
        "projections/snapshots/requests.py",
        "        if not (isinstance(seconds, int | float) and 0 <= seconds <= _SECONDS_MAX):\n",
        "        if False:\n",
    ),
    Mutant(
        "requests stay for ever",
        "projections/snapshots/requests.py",
        "        expired = revision\n",
        "        expired = 0\n",
    ),
    Mutant(
        "a commit is taken for one from another key",
        "projections/snapshots/driving.py",
        '        if (data["key"], data["name"]) != (key, name):\n',
        "        if False:\n",
    ),
    Mutant(
        "a store that requires an actor takes anonymous batches",
        "eventstore/handle/transactions.py",
        "        if self._options.require_actor and not metadata.actor:\n",
        "        if False:\n",
    ),
    Mutant(
        "a task that gave up keeps the writer lock",
        "projections/snapshots/waiting.py",
        "        if is_given_up:\n            self._tx.rollback()\n",
        "",
    ),
    Mutant(
        "who waits for a store is let in by chance",
        "eventstore/directory/hold.py",
        "            is_first = place is None or place.is_first()\n",
        "            is_first = True\n",
    ),
    # Backup, restore, dump, load
    Mutant(
        "what a backup has written is not read back",
        "eventstore/copies/backups.py",
        "    place.write(file.name, data)\n    read_stored(place, file)\n",
        "    place.write(file.name, data)\n",
    ),
    Mutant(
        "no sync of the names of a backup",
        "eventstore/copies/places.py",
        "        self._files.rename(temporary, path)\n"
        "        self._files.sync_directory(self.name)\n",
        "        self._files.rename(temporary, path)\n",
    ),
    Mutant(
        "a file of a backup is written in its place",
        "eventstore/copies/places.py",
        "        temporary = path + TEMPORARY_SUFFIX\n",
        "        temporary = path\n",
    ),
    Mutant(
        "a backup goes on in a directory of something else",
        "eventstore/copies/places.py",
        "        if each not in (LOCK_NAME, MANIFEST_NAME) and not is_name_of_backup(each):\n",
        "        if False:\n",
    ),
    Mutant(
        "a backup goes on although its files are gone",
        "eventstore/copies/backing_up.py",
        "            require_files(held, manifest)\n",
        "",
    ),
    Mutant(
        "a backup goes on with another store",
        "eventstore/copies/backing_up.py",
        "    if manifest.store_id != log.store_id:\n",
        "    if False:\n",
    ),
    Mutant(
        "a backup goes on with an older copy",
        "eventstore/copies/backing_up.py",
        "    if manifest.revision > source.last_revision:\n",
        "    if False:\n",
    ),
    Mutant(
        "a backup goes on with a fork",
        "eventstore/copies/backing_up.py",
        "        return all(each.digest == place.digest for each in ",
        "        return all(each.digest for each in ",
    ),
    Mutant(
        "a backup goes on with a fork whose batches it has not",
        "eventstore/copies/backing_up.py",
        "    if oldest <= place.revision:\n",
        "    if oldest > place.revision:\n        return True\n    if True:\n",
    ),
    Mutant(
        "a backup is made in the store",
        "eventstore/copies/places.py",
        "    if backup.startswith(store) and backup != store:\n",
        "    if False:\n",
    ),
    Mutant(
        "a store is made in the backup",
        "eventstore/copies/places.py",
        "    if store.startswith(backup) and backup != store:\n",
        "    if False:\n",
    ),
    Mutant(
        "a backup goes on over a gap",
        "eventstore/copies/backing_up.py",
        "    if oldest > manifest.revision + 1:\n",
        "    if False:\n",
    ),
    Mutant(
        "files are removed that another backup may be writing",
        "eventstore/copies/backing_up.py",
        "    if not place.is_locked:\n        return\n",
        "",
    ),
    Mutant(
        "a file that a manifest names is removed",
        "eventstore/copies/backing_up.py",
        "        if is_name_of_backup(name) and name not in named:\n",
        "        if is_name_of_backup(name):\n",
    ),
    Mutant(
        "a manifest is believed without its checksum",
        "eventstore/format/manifest.py",
        '        is_whole = fields["format"] == _FORMAT and _sealed(sealed) == data\n',
        '        is_whole = fields["format"] == _FORMAT and sealed != data\n',
    ),
    Mutant(
        "a manifest may have a gap",
        "eventstore/format/manifest.py",
        "        if each.first_revision != expected or each.file.revision < expected:\n",
        "        if False:\n",
    ),
    Mutant(
        "a manifest may name any path",
        "eventstore/format/manifest.py",
        "    if type(value) is not str or not pattern.fullmatch(value):\n",
        "    if type(value) is not str:\n",
    ),
    Mutant(
        "a file of a backup is believed by its length",
        "eventstore/format/manifest.py",
        "    return len(data) == file.size_bytes and "
        "hashlib.sha256(data).hexdigest() == file.sha256\n",
        "    return len(data) == file.size_bytes\n",
    ),
    Mutant(
        "batches of a backup need not continue those before",
        "eventstore/copies/backups.py",
        "        if stated != (previous.digest, previous.end_bytes):\n",
        "        if False:\n",
    ),
    Mutant(
        "batches of a backup may end anywhere",
        "eventstore/copies/backups.py",
        "    if found != (entry.file.revision, entry.digest, entry.time_ns, entry.end_bytes):\n",
        "    if False:\n",
    ),
    Mutant(
        "leaves of another history are restored",
        "eventstore/copies/backups.py",
        "    return len(digests) == count * size and digests[-size:] == manifest.start_digest\n",
        "    return len(digests) == count * size\n",
    ),
    Mutant(
        "a record that breaks the chain is framed",
        "eventstore/copies/framing.py",
        "        if digest != batch.digest or batch.durable_revision >= batch.revision:\n",
        "        if False:\n",
    ),
    Mutant(
        "a record that is out of order is framed",
        "eventstore/copies/framing.py",
        "        if batch.revision != end.revision + 1 or batch.time_ns < end.time_ns:\n",
        "        if False:\n",
    ),
    Mutant(
        "a payload that holds the mark is framed with it",
        "eventstore/copies/framing.py",
        "            and self._framing.mark not in payload\n",
        "",
    ),
    Mutant(
        "a store that leaves out batches is the original",
        "eventstore/copies/restoring.py",
        "    parts = as_new or last < manifest.revision\n",
        "    parts = as_new\n",
    ),
    Mutant(
        "two forks of a revision are one history",
        "eventstore/copies/restoring.py",
        "secrets.token_bytes(_FORK_ID_BYTES) if parts",
        "bytes(_FORK_ID_BYTES) if parts",
    ),
    Mutant(
        "a restore gives more than was asked for",
        "eventstore/copies/restoring.py",
        "        if batch.revision <= last:  # what",
        "        if True:  # what",
    ),
    Mutant(
        "a line may be changed",
        "eventstore/copies/loading.py",
        "        if digest_after(batch, self._store_id, previous_digest) != digest:\n",
        "        if False:\n",
    ),
    Mutant(
        "a line may stand anywhere",
        "eventstore/copies/loading.py",
        "        if found != revision:\n",
        "        if False:\n",
    ),
    Mutant(
        "a dump may go on behind its end",
        "eventstore/copies/loading.py",
        "        if self._fields(self._line_bytes_max) is not None:\n",
        "        if False:\n",
    ),
    Mutant(
        "a dump may lack its first batches",
        "eventstore/copies/loading.py",
        "        if first != 1:\n",
        "        if False:\n",
    ),
    Mutant(
        "a line may be of any length",
        "eventstore/copies/loading.py",
        "        line = self._lines.readline(line_bytes_max + 1)\n",
        "        line = self._lines.readline(-1)\n",
    ),
    Mutant(
        "a line may name a field twice",
        "eventstore/format/jsonlines.py",
        "    if len(fields) < len(pairs):\n",
        "    if False:\n",
    ),
    Mutant(
        "a number in a line may be infinite",
        "eventstore/format/jsonlines.py",
        "    if not math.isfinite(value):\n        raise LineError",
        "    if False:\n        raise LineError",
    ),
    Mutant(
        "a dump trusts JSON with every NaN",
        "eventstore/copies/dumping.py",
        "                if math.isnan(value):\n",
        "                if False:\n",
    ),
    # Handles that are dropped
    Mutant(
        "the thread of a handle keeps it from being collected",
        "eventstore/handle/maintaining.py",
        "            weakref.WeakMethod(self._say_dropped),\n",
        "            lambda: self._say_dropped,\n",
    ),
    Mutant(
        "a dropped handle keeps its store",
        "eventstore/store.py",
        "            store._let_go_when_dropped()\n",
        "",
    ),
    Mutant(
        "a finalizer waits for the thread that it may run in",
        "eventstore/handle/dropping.py",
        "    if has_threads():\n",
        "    if False:\n",
    ),
    Mutant(
        "a close waits for a thread that was never started",
        "eventstore/log/preparer.py",
        "thread.is_alive() and thread is not",
        "thread is not",
    ),
    Mutant(
        "the thread that prepares segments waits for itself",
        "eventstore/log/preparer.py",
        " and thread is not threading.current_thread():\n",
        ":\n",
    ),
    Mutant(
        "a handle is dropped under an iterator",
        "eventstore/handle/past_reads.py",
        "        return self._read_amid(found)\n",
        "        return self._closing.told_amid(found)\n",
    ),
    Mutant(
        "a handle is dropped under a dump",
        "eventstore/handle/copying.py",
        "        return self._read_amid(lines)\n",
        "        return self._closing.told_amid(lines)\n",
    ),
    Mutant(
        "a closed handle warns when it is dropped",
        "eventstore/store.py",
        "            self._has_let_go = True\n            self._keep_quiet_when_dropped()\n\n",
        "            self._has_let_go = True\n\n",
    ),
    # Domains of one class
    Mutant(
        "a program makes another domain of the class",
        "eventstore/testing/domain.py",
        "    if kind.__repr__ is not object.__repr__:\n",
        "    if False:\n",
    ),
    Mutant(
        "a domain is made without its arguments",
        "eventstore/testing/domain.py",
        "    if inspect.signature(kind).parameters:\n",
        "    if False:\n",
    ),
    Mutant(
        "nobody is told that the domain can't be made",
        "eventstore/testing/consistency.py",
        "    unable = no_python(program_text) or not_made(domain)\n",
        "    unable = no_python(program_text)\n    _ = not_made\n",
    ),
    # Odd places of copies
    Mutant(
        "a store is made in a backup",
        "eventstore/copies/places.py",
        "        if _is_there(file_system, above, _is_backup):\n",
        "        if False:\n",
    ),
    Mutant(
        "a store is made in another one",
        "eventstore/copies/places.py",
        "        if _is_there(file_system, above, _is_store):\n",
        "        if False:\n",
    ),
    Mutant(
        "an odd place of a backup is told as the system does",
        "eventstore/copies/places.py",
        "            if not is_no_place(error):\n                raise\n",
        "            raise\n",
    ),
    Mutant(
        "a link in the place of a backup's file is told as the system does",
        "eventstore/copies/places.py",
        "            if is_gone(error) or not (is_no_place(error) or is_no_file(error)):\n"
        "                raise\n",
        "            raise\n",
    ),
    # Intents and requests that can't be
    Mutant(
        "a text that can't be logged is taken for data of an intent",
        "projections/snapshots/intents.py",
        "            check_text(value, ",
        "            _ = (value, ",
    ),
    Mutant(
        "a name that can't be logged is taken for data of an intent",
        "projections/snapshots/intents.py",
        "        check_text(name, ",
        "        _ = (name, ",
    ),
    Mutant(
        "a number that can't be logged is taken for data of an intent",
        "projections/snapshots/intents.py",
        "        if type(value) is int and not _INT_MIN <= value <= _INT_MAX:\n",
        "        if False:\n",
    ),
    Mutant(
        "data of an intent may be no mapping",
        "projections/snapshots/intents.py",
        "    if data is not None and not isinstance(data, Mapping):\n",
        "    if False:\n",
    ),
    Mutant(
        "an intent that has ended is finished",
        "projections/snapshots/work.py",
        "        if not (intent.is_staged and is_open):\n",
        "        if not intent.is_staged:\n",
    ),
    Mutant(
        "an intent that is not staged is finished",
        "projections/snapshots/work.py",
        "        if not (intent.is_staged and is_open):\n",
        "        if not is_open:\n",
    ),
    Mutant(
        "what is finished twice ends twice",
        "projections/snapshots/work.py",
        "        if intent not in self._finished:\n            self._finished.append(intent)\n",
        "        self._finished.append(intent)\n",
    ),
    Mutant(
        "a removal that is recorded as a request adds rows on a full disk",
        "projections/snapshots/transaction.py",
        " or self._state.rows_added((SNAPSHOTS,)) < 0",
        "",
    ),
    Mutant(
        "what must be written before space can be freed is refused on a full disk",
        "projections/snapshots/automatic.py",
        "        return True\n",
        "        return False\n",
    ),
    Mutant(
        "a snapshot under a name that is used again is missing",
        "projections/snapshots/reconcile.py",
        " and each in there_before",
        " and before.get(SNAPSHOTS, name) is not None",
    ),
    Mutant(
        "a stage that begins while the disk is listed is litter",
        "projections/snapshots/work.py",
        "            seen.add(name)\n",
        "            pass\n",
    ),
    Mutant(
        "the work of a request may commit without its record",
        "projections/snapshots/lent.py",
        "        self._borrower = what\n",
        "        self._borrower = None\n",
    ),
    Mutant(
        "a closed store gives names for stages",
        "projections/snapshots/work.py",
        "        with self._store.begin_read(SnapshotReadTransaction):\n"
        "            pass  # a closed store gives no names\n",
        "",
    ),
    Mutant(
        "a content that holds itself is fed for ever",
        "projections/snapshots/requests.py",
        '    except RecursionError:\n        raise InvalidArgumentError(\n            "the content',
        "    except ZeroDivisionError:\n"
        "        raise InvalidArgumentError(\n"
        '            "the content',
    ),
    Mutant(
        "a handler may be no function",
        "projections/snapshots/work.py",
        "            if not callable(handler):\n",
        "            if False:\n",
    ),
    Mutant(
        "a text is taken for a list of names",
        "projections/snapshots/reconcile.py",
        "    if isinstance(names, (str, bytes)):\n",
        "    if False:\n",
    ),
    Mutant(
        "a path is taken for a name",
        "projections/snapshots/reconcile.py",
        ' or "/" in name or "\\0" in name:\n',
        ":\n",
    ),
    Mutant(
        "an open that is cancelled keeps the lock",
        "projections/snapshots/asynchronous.py",
        "                await to_its_end(started(opening.result().close))\n",
        "                pass\n",
    ),
    Mutant(
        "a task waits for itself",
        "projections/snapshots/asynchronous.py",
        "        if self._writer is not None and self._writer is asyncio.current_task():\n",
        "        if False:\n",
    ),
    Mutant(
        "a regular expression that can't be read is an answer to a person",
        "tools/cli/snapledger/arguments.py",
        "parse_filter(text, is_strict=True)",
        "parse_filter(text)",
    ),
    Mutant(
        "what is open is settled by a handle that can't know",
        "projections/snapshots/work.py",
        "            with begin_automatic(self._store, Metadata(None, _SETTLING, None)) as tx:\n",
        "            with self._store.begin_read(SnapshotReadTransaction) as tx:\n",
    ),
    Mutant(
        "a stage is recorded in another store",
        "projections/snapshots/work.py",
        "        if not self._store.is_writable or tx.store_id != self._store.store_id:\n",
        "        if False:\n",
    ),
    Mutant(
        "a follower takes the end of work",
        "projections/snapshots/work.py",
        "        if not self._store.is_writable:\n",
        "        if False:\n",
    ),
    Mutant(
        "a stage is of a snapshot that nobody ever made",
        "projections/snapshots/work.py",
        "    if number > last_id:\n",
        "    if False:\n",
    ),
    Mutant(
        "two snapshots get the id of a staged one",
        "projections/snapshots/transaction.py",
        "    if intents.checked_intent(intent).is_staged:\n",
        "    if False:\n",
    ),
    Mutant(
        "an intent that nobody would settle is begun",
        "projections/snapshots/work.py",
        "        if self._kinds and kind not in self._kinds:\n",
        "        if False:\n",
    ),
    # Directories in the place of files
    Mutant(
        "a directory in the place of an index fails a compaction",
        "eventstore/past/indexes.py",
        "                    if not is_no_file(error):\n"
        "                        raise\n"
        "                    self._unindexed",
        "                    raise\n                    self._unindexed",
    ),
    Mutant(
        "a directory in the place of an index is told each time",
        "eventstore/past/indexes.py",
        "                    self._unindexed.add(part.source)\n                    _logger",
        "                    _logger",
    ),
    Mutant(
        "a directory with the name of an old index fails a compaction",
        "eventstore/past/indexes.py",
        "                    if not is_no_file(error):  # a directory says nothing of the segment\n"
        "                        raise\n",
        "                    raise\n",
    ),
    Mutant(
        "a directory in the place of an answer has the store compacted for ever",
        "eventstore/maintenance/requests.py",
        "            if not is_no_file(error):\n                raise\n",
        "            raise\n",
    ),
    Mutant(
        "nobody says that an answer has no place",
        "eventstore/maintenance/requests.py",
        "                if self._is_answer_blocked():\n",
        "                if False:\n",
    ),
    # Erasure
    Mutant(
        "an erasure is committed before it is noted that it may be unfinished",
        "eventstore/backend/file_log.py",
        "        note_erasing(self._file_system, self._path, self.head.revision)\n",
        "",
    ),
    Mutant(
        "the segment that the writer has open is replaced",
        "eventstore/backend/file_log.py",
        "            self._writer.seal()\n",
        "",
    ),
    Mutant(
        "the note of an unfinished erasure is written over",
        "eventstore/handle/erasing.py",
        "        finished = log.finish_erasure() or log.finished_erasures\n",
        "        finished = log.finished_erasures\n",
    ),
    Mutant(
        "a handle reads on what it had open before an erasure",
        "eventstore/backend/file_log.py",
        "        self._past = Past(self._file_system,",
        "        _ = Past(self._file_system,",
    ),
    Mutant(
        "the note of an erasure is not synced by its directory",
        "eventstore/maintenance/erasing_note.py",
        "        raise\n    file_system.sync_directory(path)\n",
        "        raise\n",
    ),
    Mutant(
        "a verification takes what an unfinished erasure leaves for damage",
        "eventstore/integrity/verification.py",
        "            self._pass_over_what_goes()\n",
        "",
    ),
    Mutant(
        "a damaged note of an erasure is taken for one of nothing",
        "eventstore/format/erasing.py",
        "        return None\n",
        "        return 1 << 62\n",
    ),
    Mutant(
        "a torn note of an erasure is of all there ever were",
        "eventstore/maintenance/erasures.py",
        "    if since is None:\n",
        "    if False:\n",
    ),
    Mutant(
        "the note of an erasure has no checksum",
        "eventstore/format/erasing.py",
        'checksum != b"%08x\\n" % zlib.crc32(stated) or ',
        "",
    ),
    Mutant(
        "an erasure is finished whatever is left to make the state of",
        "eventstore/maintenance/erasing.py",
        "    if problem is not None:\n        raise problem.error()\n",
        "",
    ),
    Mutant(
        "an open is judged by checkpoints that an erasure takes",
        "eventstore/maintenance/erasing.py",
        "scan_store(_Without(file_system, hidden), path, ",
        "scan_store(file_system, path, ",
    ),
    Mutant(
        "a verification does not say that an erasure can't be finished",
        "eventstore/integrity/verification.py",
        "            hindering = self._add_hindrance()\n",
        "            hindering = None\n",
    ),
    Mutant(
        "a verification does not look at what an erasure names",
        "eventstore/integrity/verification.py",
        "            if undone:\n",
        "            if False:\n",
    ),
    Mutant(
        "a repair forgets what was to be erased",
        "eventstore/integrity/repair.py",
        "        forget_erased(guarded, target, found, choice)\n",
        "",
    ),
    Mutant(
        "a repair refuses what an erasure has left if the erasure is lost",
        "eventstore/integrity/repair.py",
        "if not is_unvouched(problem)]",
        "if True]",
    ),
    Mutant(
        "a repair does not say that its state holds what was to be erased",
        "eventstore/integrity/erased.py",
        "if each <= base < wanted[each][-1].said_at]",
        "if False]",
    ),
    Mutant(
        "what an older file held is not missed when another one is in its place",
        "eventstore/integrity/salvage.py",
        "        self._add_oldest(first_revision)\n",
        '        self._add_oldest(getattr(segment.header, "first_revision", first_revision))\n',
    ),
    Mutant(
        "a retry is not told that the open has finished its erasure",
        "eventstore/backend/opening.py",
        "        log.finished_erasures = finished\n",
        "",
    ),
    Mutant(
        "an erasure is done although what must go is behind damage",
        "eventstore/log/redaction.py",
        "    if problem is not None and max(wanted",
        "    if False and max(wanted",
    ),
    Mutant(
        "a backup ends before what vouches for what it has copied",
        "eventstore/copies/backing_up.py",
        "        if any(redacted.unnamed()):\n            last =",
        "        if False:\n            last =",
    ),
    Mutant(
        "a dump ends before what vouches for what it has said",
        "eventstore/copies/dumping.py",
        "        redacted.take_in(record)\n",
        "",
    ),
    Mutant(
        "an erasure takes no spare's space on a full disk",
        "eventstore/backend/file_log.py",
        "            self._with_spare_space(finish)\n",
        "            finish()\n",
    ),
    Mutant(
        "an open leaves spares where an erasure needs their space",
        "eventstore/maintenance/erasing.py",
        "    _remove(file_system, wal_path, filter(is_spare_name, names))\n",
        "",
    ),
    Mutant(
        "an erasure begins without space to carry it out",
        "eventstore/backend/file_log.py",
        "            self._spares.prepare()\n            self._writer.seal()\n",
        "            self._writer.seal()\n",
    ),
    Mutant(
        "what is being committed beside an erasure is taken for damage",
        "eventstore/maintenance/erasing.py",
        "path, beside_writer=True)\n",
        "path)\n",
    ),
    Mutant(
        "who removed a snapshot is asked from the first batch on, kept or not",
        "projections/snapshots/history.py",
        "                oldest = store.oldest_revision()\n",
        "                oldest = 1\n",
    ),
    Mutant(
        "a page takes the place of a device",
        "tools/cli/snapledger/report.py",
        "    _require_replaceable(path)\n",
        "",
    ),
    Mutant(
        "a key that could not be written stays",
        "tools/cli/snapledger/keys.py",
        "        os.unlink(path)  # a key that is half written would refuse the next one\n",
        "",
    ),
    Mutant(
        "a state that can't be told names the oldest batch",
        "eventstore/handle/history.py",
        "log.oldest_state(), is_of_state=True",
        "log.oldest_revision(), is_of_state=True",
    ),
    Mutant(
        "a log of dropped batches says nothing",
        "tools/cli/snapledger/log.py",
        "            reaches_back |= after + 1 < oldest\n",
        "",
    ),
    Mutant(
        "a note of an erasure that finds no space stays half written",
        "eventstore/maintenance/erasing_note.py",
        "            file_system.remove(temporary)\n",
        "            pass\n",
    ),
    Mutant(
        "an open finishes no erasure",
        "eventstore/backend/opening.py",
        "    finished = finish_erasure_in_spares(guarded, path)\n",
        "    finished = {}\n",
    ),
    Mutant(
        "checkpoints from before an erasure stay",
        "eventstore/maintenance/erasing.py",
        "        file_system.remove(file.path)\n",
        "        _ = file\n",
    ),
    Mutant(
        "indexes from before an erasure stay",
        "eventstore/maintenance/erasing.py",
        "join(path, INDEX_NAME), affected.indexes)",
        "join(path, INDEX_NAME), ())",
    ),
    Mutant(
        "torn tails from before an erasure stay",
        "eventstore/maintenance/erasing.py",
        "_remove(file_system, torn, file_system.list_directory(torn))",
        "_ = torn",
    ),
    Mutant(
        "damaged checkpoints from before an erasure stay",
        "eventstore/maintenance/erasing.py",
        "_LEFT_BEHIND = (DAMAGED_SUFFIX, TEMPORARY_SUFFIX)",
        "_LEFT_BEHIND = (TEMPORARY_SUFFIX,)",
    ),
    Mutant(
        "what an interrupt has cut short stays when it must be forgotten",
        "eventstore/maintenance/erasing.py",
        "_LEFT_BEHIND = (DAMAGED_SUFFIX, TEMPORARY_SUFFIX)",
        "_LEFT_BEHIND = (DAMAGED_SUFFIX,)",
    ),
    Mutant(
        "tables keep what was erased until they are folded anew",
        "eventstore/handle/erasing.py",
        "            self._state.become(left)\n",
        "            _ = left\n",
    ),
    Mutant(
        "a checkpoint continues one that an erasure has removed",
        "eventstore/handle/upkeep.py",
        "        self._checkpointer.begin_anew()\n        remove()\n",
        "        remove()\n",
    ),
    Mutant(
        "the note of an erasure that was refused stays",
        "eventstore/handle/erasing.py",
        "suppress(OSError, CorruptionError, StorageFullError):\n"
        "                    log.finish_erasure()\n",
        "suppress(OSError, CorruptionError, StorageFullError):\n                    pass\n",
    ),
    Mutant(
        "whatever claims to be redacted is taken for it by a verification",
        "eventstore/integrity/redacted.py",
        "            yield each.damage\n",
        "            yield from ()\n",
    ),
    Mutant(
        "what is redacted itself vouches for others unasked",
        "eventstore/integrity/redacted.py",
        "        if not record.is_redacted:\n            self._vouch(names)\n            return\n",
        "        self._vouch(names)\n        if not record.is_redacted:\n            return\n",
    ),
    Mutant(
        "an erasure vouches for anything in its batch",
        "eventstore/integrity/redacted.py",
        "(found.digest, found.payload_hash) == one[1:3]:",
        "found.digest == one[1]:",
    ),
    Mutant(
        "records of any segment may be redacted",
        "eventstore/format/segment.py",
        "or kind > may_redact or",
        "or kind > 1 or",
    ),
    Mutant(
        "anything of an event may be erased",
        "eventstore/handle/erasing.py",
        "            if text_holder(event.data, path[1:]) and not may_go(",
        "            if False and not may_go(",
    ),
    Mutant(
        "what can't be folded without is erased",
        "eventstore/handle/erasing.py",
        "            replay_record(state, record._replace(payload=payload))\n",
        "            replay_record(state, record)\n",
    ),
    Mutant(
        "another batch is redacted in the place of the one that an erasure names",
        "eventstore/log/redaction.py",
        "        if payload_hash(payload) != each.payload_hash or record.digest != each.digest:\n",
        "        if False:\n",
    ),
    Mutant(
        "an older release may go on with a store in which something was erased",
        "eventstore/log/writer.py",
        "self._salts is not None or old.may_redact or end.segment is self._sealed,",
        "self._salts is not None,",
    ),
    Mutant(
        "an older release may go on with a copy of such a store",
        "eventstore/copies/framing.py",
        "            is_plain, open_segment = open_segment.is_plain, None\n",
        "            open_segment = None\n",
    ),
    Mutant(
        "a salt stays where something was erased",
        "eventstore/log/redaction.py",
        "    if is_changed and salts:\n",
        "    if False:\n",
    ),
    Mutant(
        "what takes the place of a salt can be made without it",
        "eventstore/log/redaction.py",
        "        salts = [hashlib.sha256(payload).digest()[:SALT_BYTES]]\n",
        "        salts = [bytes(SALT_BYTES)]\n",
    ),
    Mutant(
        "every batch has the same salt",
        "eventstore/log/writer.py",
        "        self._next = start + SALT_BYTES\n",
        "",
    ),
    Mutant(
        "a backup keeps what was erased since",
        "eventstore/copies/backing_up.py",
        "            grown = without_erased(place, grown, wanted)\n",
        "",
    ),
    Mutant(
        "a backup keeps a state that holds what was erased since",
        "eventstore/copies/backing_up.py",
        "            grown = _with_later_state(source, place, grown, min(wanted))\n",
        "",
    ),
    Mutant(
        "a backup keeps the files that were replaced",
        "eventstore/copies/backing_up.py",
        "            place.remove(file.name)\n        manifest = grown\n",
        "            _ = file\n        manifest = grown\n",
    ),
    Mutant(
        "that a file of a backup was removed is not synced",
        "eventstore/copies/places.py",
        "        self._files.remove(join(self.name, name))\n"
        "        self._files.sync_directory(self.name)\n",
        "        self._files.remove(join(self.name, name))\n",
    ),
    Mutant(
        "a backup erases before its manifest names the erasure",
        "eventstore/copies/forgetting.py",
        "            if by_revision <= revision:\n",
        "            if True:\n",
    ),
    Mutant(
        "a copy is made while an erasure is under way",
        "eventstore/handle/copying.py",
        "is not None and is_erasing(self._file_system, self.path):",
        "is None:",
    ),
    Mutant(
        "a verified backup may hold anything that claims to be redacted",
        "eventstore/copies/backing_up.py",
        "    for unnamed in redacted.unnamed():\n",
        "    for unnamed in ():\n",
    ),
    Mutant(
        "a check says that an open finishes what it refuses",
        "eventstore/integrity/verification.py",
        "                if hindering\n",
        "                if not hindering\n",
    ),
    Mutant(
        "a repair does not say that an erasure may be lost",
        "eventstore/integrity/erased.py",
        "        _is_erasure_lost(found, chain),\n",
        "        False,\n",
    ),
    Mutant(
        "a repair takes an erasure that it can read for a lost one",
        "eventstore/integrity/erased.py",
        "        if record.revision > since\n",
        "        if record.revision < since\n",
    ),
    Mutant(
        "a backup is made of what nobody could restore",
        "eventstore/copies/backing_up.py",
        "    for damage in redacted.unnamed():\n",
        "    for damage in ():\n",
    ),
    Mutant(
        "what a lost erasure has left can't be erased again",
        "eventstore/handle/erasing.py",
        "            self._redaction(record, wanted, is_unvouched=record.revision in unvouched)\n",
        "            self._redaction(record, wanted, is_unvouched=False)\n",
    ),
    Mutant(
        "an erasure of anything vouches for a forged record",
        "eventstore/handle/erasing.py",
        "        if is_unvouched and payload != record.payload:\n",
        "        if False:\n",
    ),
    Mutant(
        "what was erased can be erased again for ever",
        "eventstore/handle/erasing.py",
        "        return frozenset(check.unnamed_revisions())\n",
        "        return frozenset(record.revision for record in records)\n",
    ),
    Mutant(
        "a restore to before an erasure does not state it again",
        "eventstore/copies/restoring.py",
        "if is_cut else []",
        "if False else []",
    ),
    Mutant(
        "a line may claim to be redacted",
        "eventstore/copies/loading.py",
        "        for unnamed in self._redacted.unnamed():\n",
        "        for unnamed in ():\n",
    ),
    Mutant(
        "a follower goes on with what was erased",
        "eventstore/backend/follower.py",
        "            self._is_outdated = True\n\n    def _begin_again",
        "            pass\n\n    def _begin_again",
    ),
    Mutant(
        "a verification does not ask the key functions of indexes",
        "eventstore/tables/state.py",
        "                    self.tables[spec.name].check_index_functions()\n",
        "                    _ = spec\n",
    ),
    Mutant(
        "a handle on a simulated disk is let go of when it is dropped",
        "eventstore/store.py",
        "        if self._file_system is not None and not is_of_this_machine(self._file_system):\n",
        "        if False:\n",
    ),
    Mutant(
        "a driver's answer does not tell its checkpoint",
        "eventstore/handle/upkeep.py",
        "        desk.answer(token, report, self._checkpointer.revision)\n",
        "        desk.answer(token, report)\n",
    ),
)
