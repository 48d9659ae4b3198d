// Command notes-driver opens and signs notes with golang.org/x/mod/sumdb/note and cosigns checkpoints with
// github.com/transparency-dev/formats: one JSON object per line in, one out.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	flog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

type question struct {
	Do      string   `json:"do"`
	Note    string   `json:"note"`
	Text    string   `json:"text"`
	Keys    []string `json:"keys"`
	Timed   []string `json:"timed"`
	Origin  string   `json:"origin"`
	Log     string   `json:"log"`
	Key     string   `json:"key"`
	Name    string   `json:"name"`
	Entries []string `json:"entries"`
}

type answer struct {
	Note    string           `json:"note,omitempty"`
	Text    string           `json:"text,omitempty"`
	Signers []string         `json:"signers,omitempty"`
	Times   map[string]int64 `json:"times,omitempty"`
	Size    uint64           `json:"size,omitempty"`
	Root    string           `json:"root,omitempty"`
	Key     string           `json:"key,omitempty"`
	Private string           `json:"private,omitempty"`
	Error   string           `json:"error,omitempty"`
}

func verifiers(asked question) (note.Verifiers, error) {
	var found []note.Verifier
	for _, each := range asked.Keys {
		verifier, err := note.NewVerifier(each)
		if err != nil {
			return nil, err
		}
		found = append(found, verifier)
	}
	for _, each := range asked.Timed {
		verifier, err := fnote.NewVerifierForCosignatureV1(each)
		if err != nil {
			return nil, err
		}
		found = append(found, verifier)
	}
	return note.VerifierList(found...), nil
}

func opened(asked question) (answer, error) {
	known, err := verifiers(asked)
	if err != nil {
		return answer{}, err
	}
	found, err := note.Open([]byte(asked.Note), known)
	if err != nil {
		return answer{}, err
	}
	made := answer{Text: found.Text, Times: map[string]int64{}}
	for _, each := range found.Sigs {
		made.Signers = append(made.Signers, each.Name)
		if time, err := fnote.CoSigV1Timestamp(each); err == nil {
			made.Times[each.Name] = time.Unix()
		}
	}
	return made, nil
}

func checkpoint(asked question) (answer, error) {
	log, err := note.NewVerifier(asked.Log)
	if err != nil {
		return answer{}, err
	}
	var witnesses []note.Verifier
	for _, each := range asked.Timed {
		witness, err := fnote.NewVerifierForCosignatureV1(each)
		if err != nil {
			return answer{}, err
		}
		witnesses = append(witnesses, witness)
	}
	found, _, signed, err := flog.ParseCheckpoint([]byte(asked.Note), asked.Origin, log, witnesses...)
	if err != nil {
		return answer{}, err
	}
	made := answer{Size: found.Size, Root: hex.EncodeToString(found.Hash)}
	for _, each := range signed.Sigs {
		made.Signers = append(made.Signers, each.Name)
	}
	return made, nil
}

func signed(asked question, timed bool) (answer, error) {
	var signer note.Signer
	var err error
	if timed {
		signer, err = fnote.NewSignerForCosignatureV1(asked.Key)
	} else {
		signer, err = note.NewSigner(asked.Key)
	}
	if err != nil {
		return answer{}, err
	}
	made, err := note.Sign(&note.Note{Text: asked.Text}, signer)
	return answer{Note: string(made)}, err
}

func root(entries []string) []byte {
	hasher := rfc6962.DefaultHasher
	if len(entries) == 0 {
		return hasher.EmptyRoot()
	}
	if len(entries) == 1 {
		return hasher.HashLeaf([]byte(entries[0]))
	}
	half := 1
	for half*2 < len(entries) {
		half *= 2
	}
	return hasher.HashChildren(root(entries[:half]), root(entries[half:]))
}

func done(asked question) (answer, error) {
	switch asked.Do {
	case "open":
		return opened(asked)
	case "checkpoint":
		return checkpoint(asked)
	case "sign":
		return signed(asked, false)
	case "cosign":
		return signed(asked, true)
	case "root":
		return answer{Root: hex.EncodeToString(root(asked.Entries))}, nil
	case "key":
		private, public, err := note.GenerateKey(nil, asked.Name)
		return answer{Private: private, Key: public}, err
	case "ml-dsa-key":
		private, public, err := fnote.GenerateMLDSAKey(asked.Name)
		return answer{Private: private, Key: public}, err
	}
	return answer{}, errors.New("unknown: " + asked.Do)
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<24)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked question
		made := answer{}
		if err = json.Unmarshal(line, &asked); err == nil {
			made, err = done(asked)
		}
		if err != nil {
			made = answer{Error: err.Error()}
		}
		written, _ := json.Marshal(made)
		fmt.Println(string(written))
	}
}
