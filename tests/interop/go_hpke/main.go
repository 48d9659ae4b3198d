// HPKE by Go's standard library: seals and opens what each line asks for.
//
// Described in tests/interop/README.md.
package main

import (
	"bufio"
	"crypto/hpke"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

const exported = 32 // octets

type octets []byte

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

func (o octets) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(o)), nil }

// What is asked: to seal to a public key, or to open with a private key what was sent with `enc`.
type task struct {
	Do         string   `json:"do"`
	KEM        uint16   `json:"kem"`
	KDF        uint16   `json:"kdf"`
	AEAD       uint16   `json:"aead"`
	PublicKey  octets   `json:"public_key"`
	PrivateKey octets   `json:"private_key"`
	Info       octets   `json:"info"`
	Enc        octets   `json:"enc"`
	Messages   []octets `json:"messages"`
}

type result struct {
	Enc      octets   `json:"enc"`
	Messages []octets `json:"messages"`
	Exported octets   `json:"exported"`
	Public   octets   `json:"public_key"`
}

type suite struct {
	kem  hpke.KEM
	kdf  hpke.KDF
	aead hpke.AEAD
}

func main() {
	if len(os.Args) != 2 || os.Args[1] != "client" {
		fmt.Fprintln(os.Stderr, "usage: hpke-driver client")
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
	for {
		var asked task
		if err := tasks.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := results.Encode(answered(asked)); err != nil {
			return err
		}
	}
}

func answered(asked task) any {
	answer, err := done(asked)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return answer
}

func done(asked task) (*result, error) {
	chosen, err := suiteOf(asked)
	if err != nil {
		return nil, err
	}
	switch asked.Do {
	case "seal":
		return sealed(chosen, asked)
	case "open":
		return opened(chosen, asked)
	}
	return nil, errors.New("neither seal nor open")
}

func suiteOf(asked task) (chosen suite, err error) {
	if chosen.kem, err = hpke.NewKEM(asked.KEM); err != nil {
		return chosen, err
	}
	if chosen.kdf, err = hpke.NewKDF(asked.KDF); err != nil {
		return chosen, err
	}
	chosen.aead, err = hpke.NewAEAD(asked.AEAD)
	return chosen, err
}

func sealed(chosen suite, asked task) (*result, error) {
	key, err := chosen.kem.NewPublicKey(asked.PublicKey)
	if err != nil {
		return nil, err
	}
	enc, sender, err := hpke.NewSender(key, chosen.kdf, chosen.aead, asked.Info)
	if err != nil {
		return nil, err
	}
	answer := &result{Enc: enc, Public: key.Bytes()}
	for _, message := range asked.Messages {
		ciphertext, err := sender.Seal(asked.Info, message)
		if err != nil {
			return nil, err
		}
		answer.Messages = append(answer.Messages, ciphertext)
	}
	answer.Exported, err = sender.Export(string(asked.Info), exported)
	return answer, err
}

func opened(chosen suite, asked task) (*result, error) {
	key, err := chosen.kem.NewPrivateKey(asked.PrivateKey)
	if err != nil {
		return nil, err
	}
	recipient, err := hpke.NewRecipient(asked.Enc, key, chosen.kdf, chosen.aead, asked.Info)
	if err != nil {
		return nil, err
	}
	answer := &result{Enc: asked.Enc, Public: key.PublicKey().Bytes()}
	for _, message := range asked.Messages {
		plaintext, err := recipient.Open(asked.Info, message)
		if err != nil {
			return nil, err
		}
		answer.Messages = append(answer.Messages, plaintext)
	}
	answer.Exported, err = recipient.Export(string(asked.Info), exported)
	return answer, err
}
