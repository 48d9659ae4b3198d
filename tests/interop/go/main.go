// Oblivious HTTP by github.com/openpcc/ohttp: a client that reads cases, or a gateway.
//
// Both are described in tests/interop/README.md.
package main

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"

	"github.com/cloudflare/circl/hpke"
)

const usage = `usage: interop-driver client
       interop-driver gateway --listen HOST:PORT|unix:PATH --key HEX
                      [--kem X25519-HKDF-SHA256|X-Wing] [--answer echo|instant]`

var kems = map[string]hpke.KEM{
	"X25519-HKDF-SHA256": hpke.KEM_X25519_HKDF_SHA256,
	"X-Wing":             hpke.KEM_XWING,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "client":
		return runClient(os.Stdin, os.Stdout)
	case len(arguments) > 1 && arguments[0] == "gateway":
		return runWithFlags(arguments[1:])
	}
	return fmt.Errorf("%s", usage)
}

func runWithFlags(arguments []string) error {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	listen := flags.String("listen", "", "HOST:PORT or unix:PATH")
	key := flags.String("key", "", "32 octets that the key pair is derived from, in hexadecimal")
	name := flags.String("kem", "X25519-HKDF-SHA256", "X25519-HKDF-SHA256 or X-Wing")
	answer := flags.String("answer", "echo", "echo or instant")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	seed, err := hex.DecodeString(*key)
	kem, known := kems[*name]
	if err != nil || len(seed) != 32 || *listen == "" || !known {
		return fmt.Errorf("%s", usage)
	}
	return runGateway(*listen, kem, seed, *answer == "instant")
}
