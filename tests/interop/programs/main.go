// OpenAI's SDK for Go: asks at the address and for the model that it is given, over two APIs.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

const png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

var schema = map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}, "additionalProperties": false}

func main() {
	ctx := context.Background()
	client := openai.NewClient(option.WithBaseURL(os.Args[1]+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0))
	model := os.Args[2]
	said := map[string]string{}
	overResponses := map[string]string{}
	try := func(name string, ask func() (string, error)) {
		text, err := ask()
		if err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		if short, ok := strings.CutPrefix(name, "Responses "); ok {
			overResponses[short] = text
		} else {
			said[name] = text
		}
	}
	hi := []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hi")}
	ask := func(p openai.ChatCompletionNewParams) (*openai.ChatCompletion, error) {
		p.Model = model
		return client.Chat.Completions.New(ctx, p)
	}
	text := func(p openai.ChatCompletionNewParams) (string, error) {
		a, err := ask(p)
		if err != nil {
			return "", err
		}
		return a.Choices[0].Message.Content, nil
	}
	try("chat", func() (string, error) { return text(openai.ChatCompletionNewParams{Messages: hi}) })
	try("stream", func() (string, error) {
		s := client.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{Model: model, Messages: hi})
		acc := openai.ChatCompletionAccumulator{}
		for s.Next() {
			acc.AddChunk(s.Current())
		}
		if s.Err() != nil {
			return "", s.Err()
		}
		return acc.Choices[0].Message.Content, nil
	})
	try("tools", func() (string, error) {
		p := openai.ChatCompletionNewParams{Messages: hi, Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "weather", Parameters: schema})}}
		a, err := ask(p)
		if err != nil {
			return "", err
		}
		m := a.Choices[0].Message
		p.Messages = append(p.Messages, m.ToParam())
		for _, c := range m.ToolCalls {
			var args struct{ City string }
			if err := json.Unmarshal([]byte(c.Function.Arguments), &args); err != nil {
				return "", err
			}
			p.Messages = append(p.Messages, openai.ToolMessage("sunny in "+args.City, c.ID))
		}
		return text(p)
	})
	try("structured", func() (string, error) {
		return text(openai.ChatCompletionNewParams{Messages: hi, ResponseFormat: openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "city", Schema: schema, Strict: openai.Bool(true)}}}})
	})
	try("reasoning", func() (string, error) {
		a, err := ask(openai.ChatCompletionNewParams{Messages: hi, ReasoningEffort: shared.ReasoningEffortHigh})
		if err != nil {
			return "", err
		}
		return strings.Trim(a.Choices[0].Message.JSON.ExtraFields["reasoning_content"].Raw(), "\""), nil
	})
	try("image", func() (string, error) {
		return text(openai.ChatCompletionNewParams{Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{openai.TextContentPart("What?"), openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: png})})}})
	})
	try("Responses chat", func() (string, error) {
		r, err := client.Responses.New(ctx, responses.ResponseNewParams{Model: model, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Hi")}, Store: openai.Bool(false)})
		if err != nil {
			return "", err
		}
		return r.OutputText(), nil
	})
	try("Responses stream", func() (string, error) {
		s := client.Responses.NewStreaming(ctx, responses.ResponseNewParams{Model: model, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Hi")}})
		out := ""
		for s.Next() {
			if e := s.Current(); e.Type == "response.output_text.delta" {
				out += e.Delta
			}
		}
		return out, s.Err()
	})
	all := map[string]any{"chat completions": said, "Responses": overResponses}
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
