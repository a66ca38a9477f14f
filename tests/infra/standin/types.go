package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// Azure's own description of a resource type at one version: a table of types that refer to each other by number.
type azureTypes struct {
	Body  int         `json:"body"`
	Types []azureType `json:"types"`
}

type azureType struct {
	Kind           string              `json:"$type"`
	Properties     map[string]property `json:"properties"`
	BaseProperties map[string]property `json:"baseProperties"`
	Additional     *int                `json:"additionalProperties"`
	Discriminator  string              `json:"discriminator"`
	Elements       json.RawMessage     `json:"elements"`
	Value          string              `json:"value"`
	Item           *int                `json:"itemType"`
	Pattern        string              `json:"pattern"`
	MinLength      *int                `json:"minLength"`
	MaxLength      *int                `json:"maxLength"`
	MinValue       *float64            `json:"minValue"`
	MaxValue       *float64            `json:"maxValue"`
}

type property struct {
	Flags int  `json:"f"`
	Type  *int `json:"t"`
}

const (
	isRequired = 1
	isReadOnly = 2
)

// Lists of values that Azure leaves open, and that grow faster than these types.
var open = regexp.MustCompile(`(?i)\.(vmSize|offer|sku|publisher|version|storageAccountType|timeAggregation)$`)

// load reads the types of `<resource type>@<version>`; false: not at hand.
func load(resourceType string) (*azureTypes, bool) {
	name := strings.ToLower(strings.ReplaceAll(resourceType, "/", "_")) + ".json"
	content, err := os.ReadFile(filepath.Join(os.Getenv("STANDIN_TYPES"), name))
	if err != nil {
		return nil, false
	}
	var found azureTypes
	if err := json.Unmarshal(content, &found); err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	return &found, true
}

// check says everything that is wrong with a whole request body.
func (t *azureTypes) check(body object) []string {
	faults := t.value(t.Body, body, "body")
	sort.Strings(faults)
	return faults
}

func (t *azureTypes) value(number int, given any, where string) []string {
	if _, unknown := given.(notKnown); unknown {
		return nil
	}
	kind := t.Types[number]
	switch kind.Kind {
	case "ObjectType":
		return t.object(kind, given, where)
	case "DiscriminatedObjectType":
		return t.discriminated(kind, given, where)
	case "ArrayType":
		return t.array(kind, given, where)
	case "UnionType":
		return t.union(kind, given, where)
	case "StringType":
		return checkText(kind, given, where)
	case "StringLiteralType":
		if given != kind.Value {
			return []string{fmt.Sprintf("%s: is %v, allowed: %q", where, given, kind.Value)}
		}
	case "IntegerType":
		return checkNumber(kind, given, where)
	case "BooleanType":
		if _, fits := given.(bool); !fits {
			return []string{fmt.Sprintf("%s: is %s, allowed: true or false", where, said(given))}
		}
	}
	return nil
}

func (t *azureTypes) object(kind azureType, given any, where string) []string {
	fields, fits := given.(object)
	if !fits {
		return []string{fmt.Sprintf("%s: is %s, allowed: an object", where, said(given))}
	}
	return t.fields(kind.Properties, kind.Additional, fields, where)
}

func (t *azureTypes) fields(known map[string]property, more *int, fields object, where string) []string {
	var faults []string
	for name, value := range fields {
		place := where + "." + name
		rule, exists := known[name]
		switch {
		case exists && rule.Flags&isReadOnly != 0:
			faults = append(faults, place+": is read-only")
		case exists && value == nil:
			// null is left out by nobody: azapi sends it
			faults = append(faults, place+": is null")
		case exists:
			faults = append(faults, t.value(*rule.Type, value, place)...)
		case more != nil:
			faults = append(faults, t.value(*more, value, place)...)
		default:
			faults = append(faults, fmt.Sprintf("%s: no such property%s", place, didYouMean(name, known)))
		}
	}
	for name, rule := range known {
		if _, given := fields[name]; rule.Flags&isRequired != 0 && rule.Flags&isReadOnly == 0 && !given {
			faults = append(faults, fmt.Sprintf("%s.%s: is missing", where, name))
		}
	}
	return faults
}

func (t *azureTypes) discriminated(kind azureType, given any, where string) []string {
	fields, fits := given.(object)
	if !fits {
		return []string{fmt.Sprintf("%s: is %s, allowed: an object", where, said(given))}
	}
	var elements map[string]int
	if err := json.Unmarshal(kind.Elements, &elements); err != nil {
		panic(err)
	}
	if _, unknown := fields[kind.Discriminator].(notKnown); unknown {
		return nil
	}
	named, _ := fields[kind.Discriminator].(string)
	number, exists := elements[named]
	if !exists {
		return []string{fmt.Sprintf("%s.%s: is %s, allowed: %s", where, kind.Discriminator, said(fields[kind.Discriminator]), strings.Join(keys(elements), ", "))}
	}
	all := map[string]property{}
	for name, rule := range kind.BaseProperties {
		all[name] = rule
	}
	for name, rule := range t.Types[number].Properties {
		all[name] = rule
	}
	return t.fields(all, t.Types[number].Additional, fields, where)
}

func (t *azureTypes) array(kind azureType, given any, where string) []string {
	items, fits := given.([]any)
	if !fits {
		return []string{fmt.Sprintf("%s: is %s, allowed: a list", where, said(given))}
	}
	var faults []string
	for number, item := range items {
		faults = append(faults, t.value(*kind.Item, item, fmt.Sprintf("%s[%d]", where, number))...)
	}
	return faults
}

// union: values that Azure lists count as all there are, also where it would take others: a wrong one is a typing
// mistake far more often than news.
func (t *azureTypes) union(kind azureType, given any, where string) []string {
	var elements []int
	if err := json.Unmarshal(kind.Elements, &elements); err != nil {
		panic(err)
	}
	var literals []string
	for _, number := range elements {
		if t.Types[number].Kind == "StringLiteralType" {
			literals = append(literals, t.Types[number].Value)
		}
	}
	word, isText := given.(string)
	for _, number := range elements {
		element := t.Types[number]
		if element.Kind == "StringType" && isText && len(literals) > 0 && !open.MatchString(where) {
			continue
		}
		if len(t.value(number, given, where)) == 0 {
			return nil
		}
	}
	if isText && len(literals) > 0 {
		for _, literal := range literals {
			if strings.EqualFold(literal, word) {
				return []string{fmt.Sprintf("%s: is %q, should be written %q", where, word, literal)}
			}
		}
	}
	return []string{fmt.Sprintf("%s: is %s, allowed: %s", where, said(given), strings.Join(literals, ", "))}
}

func checkText(kind azureType, given any, where string) []string {
	word, fits := given.(string)
	if !fits {
		return []string{fmt.Sprintf("%s: is %s, allowed: a text", where, said(given))}
	}
	if kind.MinLength != nil && len(word) < *kind.MinLength || kind.MaxLength != nil && len(word) > *kind.MaxLength {
		return []string{fmt.Sprintf("%s: has %d characters, too few or too many", where, len(word))}
	}
	if kind.Pattern != "" {
		// Some patterns of Azure's are of another dialect: what does not compile is not checked.
		if pattern, err := regexp.Compile(kind.Pattern); err == nil && !pattern.MatchString(word) {
			return []string{fmt.Sprintf("%s: is %q, allowed: %s", where, word, kind.Pattern)}
		}
	}
	return nil
}

func checkNumber(kind azureType, given any, where string) []string {
	number, fits := given.(float64)
	if !fits {
		return []string{fmt.Sprintf("%s: is %s, allowed: a number", where, said(given))}
	}
	if kind.MinValue != nil && number < *kind.MinValue || kind.MaxValue != nil && number > *kind.MaxValue {
		return []string{fmt.Sprintf("%s: is %v, out of range", where, number)}
	}
	if math.IsInf(number, 0) {
		return []string{where + ": is no number"}
	}
	return nil
}

func said(given any) string {
	if given == nil {
		return "null"
	}
	content, err := json.Marshal(given)
	if err != nil || len(content) > 80 {
		return fmt.Sprintf("a %T", given)
	}
	return string(content)
}

func didYouMean(name string, known map[string]property) string {
	for other := range known {
		if strings.EqualFold(other, name) || strings.HasPrefix(strings.ToLower(other), strings.ToLower(name)) {
			return fmt.Sprintf(", did you mean %s?", other)
		}
	}
	return ""
}

func keys(of map[string]int) []string {
	var found []string
	for name := range of {
		found = append(found, name)
	}
	sort.Strings(found)
	return found
}
