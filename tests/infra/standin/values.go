package main

import (
	"fmt"
	"math/big"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// notKnown stands for a value that Terraform does not know yet; it fits everywhere.
type notKnown struct{}

type object = map[string]any

// plain turns a value of Terraform into maps, slices, strings, float64, bool, nil and notKnown.
func plain(value tftypes.Value) any {
	if !value.IsKnown() {
		return notKnown{}
	}
	if value.IsNull() {
		return nil
	}
	kind := value.Type()
	switch {
	case kind.Is(tftypes.String):
		return as[string](value)
	case kind.Is(tftypes.Bool):
		return as[bool](value)
	case kind.Is(tftypes.Number):
		number, _ := as[*big.Float](value).Float64()
		return number
	case kind.Is(tftypes.Object{}), kind.Is(tftypes.Map{}):
		found := object{}
		for name, each := range as[map[string]tftypes.Value](value) {
			found[name] = plain(each)
		}
		return found
	default:
		found := []any{}
		for _, each := range as[[]tftypes.Value](value) {
			found = append(found, plain(each))
		}
		return found
	}
}

func as[T any](value tftypes.Value) T {
	var found T
	if err := value.As(&found); err != nil {
		panic(fmt.Sprintf("%s is no %T: %v", value, found, err))
	}
	return found
}

// dynamicOf turns objects of strings, as they are made up here, into a value of Terraform.
func dynamicOf(given any) tftypes.Value {
	switch value := given.(type) {
	case string:
		return tftypes.NewValue(text, value)
	case object:
		kinds, values := map[string]tftypes.Type{}, map[string]tftypes.Value{}
		for name, each := range value {
			values[name] = dynamicOf(each)
			kinds[name] = values[name].Type()
		}
		return tftypes.NewValue(tftypes.Object{AttributeTypes: kinds}, values)
	}
	panic(fmt.Sprintf("%v is made up of something else", given))
}

func read(schema *tfprotov6.Schema, given *tfprotov6.DynamicValue) (map[string]tftypes.Value, bool) {
	value, err := given.Unmarshal(schema.ValueType())
	if err != nil {
		panic(err)
	}
	if value.IsNull() {
		return nil, false
	}
	return as[map[string]tftypes.Value](value), true
}

func write(schema *tfprotov6.Schema, fields map[string]tftypes.Value) *tfprotov6.DynamicValue {
	kind := schema.ValueType()
	made, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, fields))
	if err != nil {
		panic(err)
	}
	return &made
}

// str is the text of a field, or empty where it is null or not known.
func str(fields map[string]tftypes.Value, name string) string {
	found, _ := plain(fields[name]).(string)
	return found
}

// merged puts a patch over a body, object by object; a list or a plain value is replaced.
func merged(body, patch any) any {
	under, isObject := body.(object)
	over, isPatch := patch.(object)
	if !isObject || !isPatch {
		if patch == nil {
			return body
		}
		return patch
	}
	result := object{}
	for name, value := range under {
		result[name] = value
	}
	for name, value := range over {
		result[name] = merged(under[name], value)
	}
	return result
}
