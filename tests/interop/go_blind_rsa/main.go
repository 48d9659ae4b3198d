// Blind RSA by CIRCL: blinds, signs, finalizes and verifies what each line asks for.
//
// Described in tests/interop/README.md.
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"

	"github.com/cloudflare/circl/blindsign/blindrsa"
)

const variant = blindrsa.SHA384PSSDeterministic

type octets []byte

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

func (o octets) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(o)), nil }

// What is asked: to blind a message, to sign it blinded, to finalize what was blinded last, or to
// verify.
type task struct {
	Do         string `json:"do"`
	Modulus    octets `json:"modulus"`
	PrivateKey octets `json:"private_key"` // PKCS #8
	Message    octets `json:"message"`
	Signature  octets `json:"signature"`
}

type result struct {
	Octets octets `json:"octets"`
}

// A driver remembers what it blinded, as a client does until it has its signature.
type driver struct {
	client blindrsa.Client
	state  blindrsa.State
}

func main() {
	if len(os.Args) != 2 || os.Args[1] != "client" {
		fmt.Fprintln(os.Stderr, "usage: blind-rsa-driver client")
		os.Exit(1)
	}
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	tasks := json.NewDecoder(bufio.NewReader(in))
	results := json.NewEncoder(out)
	var kept driver
	for {
		var asked task
		if err := tasks.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := results.Encode(kept.answered(asked)); err != nil {
			return err
		}
	}
}

func (kept *driver) answered(asked task) any {
	answer, err := kept.done(asked)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return result{answer}
}

func (kept *driver) done(asked task) (octets, error) {
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(asked.Modulus), E: 65537}
	switch asked.Do {
	case "blind":
		return kept.blinded(key, asked.Message)
	case "finalize":
		return kept.client.Finalize(kept.state, asked.Signature)
	case "sign":
		return signed(asked)
	case "verify":
		verifier, err := blindrsa.NewVerifier(variant, key)
		if err != nil {
			return nil, err
		}
		return octets{}, verifier.Verify(asked.Message, asked.Signature)
	}
	return nil, errors.New("nothing that is known")
}

func (kept *driver) blinded(key *rsa.PublicKey, message []byte) (blinded octets, err error) {
	if kept.client, err = blindrsa.NewClient(variant, key); err != nil {
		return nil, err
	}
	prepared, err := kept.client.Prepare(rand.Reader, message)
	if err != nil {
		return nil, err
	}
	blinded, kept.state, err = kept.client.Blind(rand.Reader, prepared)
	return blinded, err
}

func signed(asked task) (octets, error) {
	read, err := x509.ParsePKCS8PrivateKey(asked.PrivateKey)
	if err != nil {
		return nil, err
	}
	key, ok := read.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return blindrsa.NewSigner(key).BlindSign(asked.Message)
}
