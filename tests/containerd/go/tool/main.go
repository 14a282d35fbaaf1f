// Tool is the only program in the images of the tests: a few commands that need no other file.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	arguments := os.Args[2:]
	switch os.Args[1] {
	case "write":
		fail(os.WriteFile(arguments[0], []byte(arguments[1]), 0644))
	case "remove":
		fail(os.RemoveAll(arguments[0]))
	case "cat":
		content, err := os.ReadFile(arguments[0])
		fail(err)
		fmt.Println(string(content))
	case "list":
		fail(filepath.Walk("/", func(path string, info os.FileInfo, err error) error {
			if path == "/proc" || path == "/sys" || path == "/dev" {
				return filepath.SkipDir
			}
			if err == nil && !info.IsDir() {
				fmt.Println(path)
			}
			return nil
		}))
	case "count":
		// Writes a file again and again until it is killed.
		for number := 0; ; number++ {
			fail(os.WriteFile(arguments[0], []byte(fmt.Sprint(number)), 0644))
			time.Sleep(20 * time.Millisecond)
		}
	}
}
