// Answers requests with golang.org/x/mod/sumdb, which has nothing in common with the code under
// test. A request and an answer are one line of JSON each; bytes are base64.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type request struct {
	Op           string
	Skey, Vkey   string
	Text         string
	Leaves       [][]byte
	Size, Old    int64
	Index        int64
	Level, Width int
	Proof        [][]byte
	Root, Before []byte
	Leaf         []byte
}

type answer struct {
	Text  string   `json:",omitempty"`
	Root  []byte   `json:",omitempty"`
	Proof [][]byte `json:",omitempty"`
	Paths []string `json:",omitempty"`
	Tiles [][]byte `json:",omitempty"`
	Error string   `json:",omitempty"`
}

type storage []tlog.Hash

func (s storage) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		hashes[i] = s[index]
	}
	return hashes, nil
}

var stored storage

func hash(data []byte) (h tlog.Hash) {
	copy(h[:], data)
	return
}

func hashes(proof [][]byte) (list []tlog.Hash) {
	for _, each := range proof {
		list = append(list, hash(each))
	}
	return
}

func raw(list []tlog.Hash) (proof [][]byte) {
	for i := range list {
		proof = append(proof, list[i][:])
	}
	return
}

func respond(r *request) (a answer, err error) {
	switch r.Op {
	case "open":
		verifier, err := note.NewVerifier(r.Vkey)
		if err != nil {
			return a, err
		}
		n, err := note.Open([]byte(r.Text), note.VerifierList(verifier))
		if err != nil {
			return a, err
		}
		a.Text = n.Text
	case "sign":
		signer, err := note.NewSigner(r.Skey)
		if err != nil {
			return a, err
		}
		signed, err := note.Sign(&note.Note{Text: r.Text}, signer)
		if err != nil {
			return a, err
		}
		a.Text = string(signed)
	case "grow":
		stored = nil
		for i, leaf := range r.Leaves {
			more, err := tlog.StoredHashes(int64(i), leaf, stored)
			if err != nil {
				return a, err
			}
			stored = append(stored, more...)
		}
	case "root":
		root, err := tlog.TreeHash(r.Size, stored)
		if err != nil {
			return a, err
		}
		a.Root = root[:]
	case "prove-record":
		proof, err := tlog.ProveRecord(r.Size, r.Index, stored)
		if err != nil {
			return a, err
		}
		a.Proof = raw(proof)
	case "prove-tree":
		proof, err := tlog.ProveTree(r.Size, r.Old, stored)
		if err != nil {
			return a, err
		}
		a.Proof = raw(proof)
	case "check-record":
		return a, tlog.CheckRecord(
			hashes(r.Proof), r.Size, hash(r.Root), r.Index, tlog.RecordHash(r.Leaf))
	case "check-tree":
		return a, tlog.CheckTree(hashes(r.Proof), r.Size, hash(r.Root), r.Old, hash(r.Before))
	case "tiles":
		for _, tile := range tlog.NewTiles(8, r.Old, r.Size) {
			data, err := tlog.ReadTileData(tile, stored)
			if err != nil {
				return a, err
			}
			a.Paths = append(a.Paths, tile.Path())
			a.Tiles = append(a.Tiles, data)
		}
	case "tile-path":
		a.Paths = []string{tlog.Tile{H: 8, L: r.Level, N: r.Index, W: r.Width}.Path()}
	default:
		return a, fmt.Errorf("unknown operation %q", r.Op)
	}
	return a, nil
}

func main() {
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := json.NewEncoder(os.Stdout)
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			return
		}
		a, err := respond(&r)
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return
		}
	}
}
