// Command debug looks into a pod from an ephemeral container, without a shell: `ps`, `ls`, `cat` and `get`, each also
// by a link of its name.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var commands = map[string]struct {
	usage string
	run   func(arguments []string) error
}{
	"ps":   {"ps [-A]: processes of the same user, with -A every one that can be seen: PID PPID RSS(kB) COMMAND", ps},
	"ls":   {"ls PATH...: what is in a folder; /proc/PID/root is the file system of another container", ls},
	"cat":  {"cat FILE...: a file's bytes", cat},
	"get":  {"get URL [FILE]: what an HTTP server answers, into a file if one is named", get},
	"wait": {"wait: nothing, until ended", wait},
}

func main() {
	arguments := os.Args
	if _, ok := commands[filepath.Base(arguments[0])]; !ok {
		arguments = arguments[1:]
	}
	if len(arguments) > 0 {
		if command, ok := commands[filepath.Base(arguments[0])]; ok {
			if err := command.run(arguments[1:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	for _, command := range commands {
		fmt.Fprintln(os.Stderr, command.usage)
	}
	os.Exit(2)
}

// Without -A only processes of its own user, like the ps of procps: whoever needs the others must ask for them.
func ps(arguments []string) error {
	all := slices.Contains(arguments, "-A")
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	fmt.Printf("%7s %7s %9s %s\n", "PID", "PPID", "RSS", "COMMAND")
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		// One that has just ended is left out.
		if status, err := os.ReadFile("/proc/" + entry.Name() + "/status"); err == nil {
			fields := fieldsOf(status)
			// Real, effective, saved and that of the file system.
			users := strings.Fields(fields["Uid"])
			if !all && (len(users) < 2 || users[1] != strconv.Itoa(os.Geteuid())) {
				continue
			}
			command, _ := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
			line := string(bytes.TrimSpace(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
			if line == "" {
				line = "[" + fields["Name"] + "]"
			}
			resident := strings.TrimSuffix(fields["VmRSS"], " kB")
			fmt.Printf("%7s %7s %9s %s\n", entry.Name(), fields["PPid"], resident, line)
		}
	}
	return nil
}

func fieldsOf(status []byte) map[string]string {
	fields := map[string]string{}
	for _, line := range strings.Split(string(status), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

func ls(paths []string) error {
	for _, path := range paths {
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			fmt.Println(entry.Name())
		}
	}
	return nil
}

func cat(files []string) error {
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, file)
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func get(arguments []string) (err error) {
	if len(arguments) == 0 || len(arguments) > 2 {
		return errors.New("usage: get URL [FILE]")
	}
	client := http.Client{Timeout: time.Minute}
	response, err := client.Get(arguments[0])
	if err != nil {
		return err
	}
	defer response.Body.Close()
	into := os.Stdout
	if len(arguments) == 2 {
		if into, err = os.Create(arguments[1]); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, into.Close()) }()
	}
	if _, err := io.Copy(into, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return errors.New(response.Status)
	}
	return nil
}

func wait([]string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
	return nil
}
