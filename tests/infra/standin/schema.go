package main

import (
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

var (
	text    = tftypes.String
	dynamic = tftypes.DynamicPseudoType
	texts   = tftypes.List{ElementType: tftypes.String}
	textMap = tftypes.Map{ElementType: tftypes.String}
)

func required(name string, kind tftypes.Type) *tfprotov6.SchemaAttribute {
	return &tfprotov6.SchemaAttribute{Name: name, Type: kind, Required: true}
}

func optional(name string, kind tftypes.Type) *tfprotov6.SchemaAttribute {
	return &tfprotov6.SchemaAttribute{Name: name, Type: kind, Optional: true}
}

func computed(name string, kind tftypes.Type) *tfprotov6.SchemaAttribute {
	return &tfprotov6.SchemaAttribute{Name: name, Type: kind, Computed: true}
}

func writeOnly(name string, kind tftypes.Type) *tfprotov6.SchemaAttribute {
	return &tfprotov6.SchemaAttribute{Name: name, Type: kind, Optional: true, WriteOnly: true}
}

var timeouts = &tfprotov6.SchemaNestedBlock{
	TypeName: "timeouts",
	Nesting:  tfprotov6.SchemaNestedBlockNestingModeSingle,
	Block: &tfprotov6.SchemaBlock{Attributes: []*tfprotov6.SchemaAttribute{
		optional("create", text), optional("delete", text), optional("read", text), optional("update", text),
	}},
}

var identity = &tfprotov6.SchemaNestedBlock{
	TypeName: "identity",
	Nesting:  tfprotov6.SchemaNestedBlockNestingModeList,
	Block:    &tfprotov6.SchemaBlock{Attributes: []*tfprotov6.SchemaAttribute{required("type", text), optional("identity_ids", texts)}},
}

var resourceSchema = &tfprotov6.Schema{Block: &tfprotov6.SchemaBlock{
	Attributes: []*tfprotov6.SchemaAttribute{
		required("type", text),
		optional("name", text),
		optional("parent_id", text),
		optional("location", text),
		optional("tags", textMap),
		optional("body", dynamic),
		writeOnly("sensitive_body", dynamic),
		optional("sensitive_body_version", textMap),
		optional("response_export_values", dynamic),
		computed("id", text),
		computed("output", dynamic),
	},
	BlockTypes: []*tfprotov6.SchemaNestedBlock{identity, timeouts},
}}

var actionAttributes = []*tfprotov6.SchemaAttribute{
	required("type", text),
	required("resource_id", text),
	optional("action", text),
	optional("method", text),
	optional("response_export_values", dynamic),
	computed("output", dynamic),
}

var actionSchema = &tfprotov6.Schema{Block: &tfprotov6.SchemaBlock{
	Attributes: append([]*tfprotov6.SchemaAttribute{computed("id", text)}, actionAttributes...),
	BlockTypes: []*tfprotov6.SchemaNestedBlock{timeouts},
}}

var ephemeralActionSchema = &tfprotov6.Schema{Block: &tfprotov6.SchemaBlock{
	Attributes: append([]*tfprotov6.SchemaAttribute{computed("id", text)}, actionAttributes...),
}}

var clientConfigSchema = &tfprotov6.Schema{Block: &tfprotov6.SchemaBlock{
	Attributes: []*tfprotov6.SchemaAttribute{
		computed("id", text), computed("subscription_id", text), computed("tenant_id", text), computed("object_id", text),
	},
}}

var schemas = &tfprotov6.GetProviderSchemaResponse{
	Provider: &tfprotov6.Schema{Block: &tfprotov6.SchemaBlock{Attributes: []*tfprotov6.SchemaAttribute{
		optional("subscription_id", text), optional("tenant_id", text),
	}}},
	ResourceSchemas: map[string]*tfprotov6.Schema{
		"azapi_resource": resourceSchema, "azapi_resource_action": actionSchema,
	},
	DataSourceSchemas:        map[string]*tfprotov6.Schema{"azapi_client_config": clientConfigSchema},
	EphemeralResourceSchemas: map[string]*tfprotov6.Schema{"azapi_resource_action": ephemeralActionSchema},
}
