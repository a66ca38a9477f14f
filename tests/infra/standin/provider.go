package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

const subscription = "00000000-0000-0000-0000-000000000001"

// provider answers what Terraform asks of this project; anything else is the nil interface, and a loud crash.
type provider struct {
	tfprotov6.ProviderServer
}

// --- the provider itself ---------------------------------------------------------------------

func (p *provider) GetMetadata(context.Context, *tfprotov6.GetMetadataRequest) (*tfprotov6.GetMetadataResponse, error) {
	answer := &tfprotov6.GetMetadataResponse{
		DataSources:        []tfprotov6.DataSourceMetadata{{TypeName: "azapi_client_config"}},
		EphemeralResources: []tfprotov6.EphemeralResourceMetadata{{TypeName: "azapi_resource_action"}},
	}
	for name := range schemas.ResourceSchemas {
		answer.Resources = append(answer.Resources, tfprotov6.ResourceMetadata{TypeName: name})
	}
	return answer, nil
}

func (p *provider) GetProviderSchema(context.Context, *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	return schemas, nil
}

func (p *provider) GetResourceIdentitySchemas(context.Context, *tfprotov6.GetResourceIdentitySchemasRequest) (*tfprotov6.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov6.GetResourceIdentitySchemasResponse{}, nil
}

func (p *provider) ValidateProviderConfig(_ context.Context, asked *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: asked.Config}, nil
}

func (p *provider) ConfigureProvider(context.Context, *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return &tfprotov6.ConfigureProviderResponse{}, nil
}

func (p *provider) StopProvider(context.Context, *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return &tfprotov6.StopProviderResponse{}, nil
}

// --- resources -------------------------------------------------------------------------------

func (p *provider) ValidateResourceConfig(_ context.Context, asked *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	answer := &tfprotov6.ValidateResourceConfigResponse{}
	fields, _ := read(schemas.ResourceSchemas[asked.TypeName], asked.Config)
	if asked.TypeName == "azapi_resource" {
		answer.Diagnostics = errors(faultsOf(fields))
	} else {
		answer.Diagnostics = errors(faultsOfAction(fields))
	}
	return answer, nil
}

func (p *provider) UpgradeResourceState(_ context.Context, asked *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	schema := schemas.ResourceSchemas[asked.TypeName]
	value, err := asked.RawState.Unmarshal(schema.ValueType())
	if err != nil {
		return nil, err
	}
	return &tfprotov6.UpgradeResourceStateResponse{UpgradedState: write(schema, as[map[string]tftypes.Value](value))}, nil
}

func (p *provider) ReadResource(_ context.Context, asked *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	return &tfprotov6.ReadResourceResponse{NewState: asked.CurrentState, Private: asked.Private}, nil
}

func (p *provider) PlanResourceChange(_ context.Context, asked *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	schema := schemas.ResourceSchemas[asked.TypeName]
	proposed, wanted := read(schema, asked.ProposedNewState)
	if !wanted {
		return &tfprotov6.PlanResourceChangeResponse{PlannedState: asked.ProposedNewState}, nil
	}
	prior, existed := read(schema, asked.PriorState)
	answer := &tfprotov6.PlanResourceChangeResponse{}
	if _, has := proposed["sensitive_body"]; has {
		proposed["sensitive_body"] = tftypes.NewValue(dynamic, nil) // may be neither planned nor kept
	}
	if !existed {
		proposed["id"] = tftypes.NewValue(text, tftypes.UnknownValue)
		proposed["output"] = tftypes.NewValue(dynamic, tftypes.UnknownValue)
	} else {
		for _, name := range []string{"name", "parent_id", "location", "resource_id", "action"} {
			if before, has := prior[name]; has && !before.Equal(proposed[name]) {
				answer.RequiresReplace = append(answer.RequiresReplace, tftypes.NewAttributePath().WithAttributeName(name))
			}
		}
	}
	answer.PlannedState = write(schema, proposed)
	return answer, nil
}

func (p *provider) ApplyResourceChange(_ context.Context, asked *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	schema := schemas.ResourceSchemas[asked.TypeName]
	planned, wanted := read(schema, asked.PlannedState)
	if !wanted {
		prior, _ := read(schema, asked.PriorState)
		if asked.TypeName == "azapi_resource" {
			journal(object{"method": "DELETE", "type": str(prior, "type"), "id": str(prior, "id")})
		}
		return &tfprotov6.ApplyResourceChangeResponse{NewState: asked.PlannedState}, nil
	}
	_, existed := read(schema, asked.PriorState)
	config, _ := read(schema, asked.Config)
	if asked.TypeName == "azapi_resource" {
		return p.put(schema, planned, config, existed), nil
	}
	return p.post(schema, planned), nil
}

func (p *provider) put(schema *tfprotov6.Schema, planned, config map[string]tftypes.Value, existed bool) *tfprotov6.ApplyResourceChangeResponse {
	id := idOf(str(planned, "type"), str(planned, "parent_id"), str(planned, "name"))
	planned["id"] = tftypes.NewValue(text, id)
	planned["output"] = outputOf(planned, id)
	// Write-only values stand in the configuration alone. With versions they go along only when these change.
	sent := map[string]tftypes.Value{}
	for name, value := range planned {
		sent[name] = value
	}
	if !existed || plain(planned["sensitive_body_version"]) == nil {
		sent["sensitive_body"] = config["sensitive_body"]
	}
	if faults := faultsOf(sent); len(faults) > 0 {
		return &tfprotov6.ApplyResourceChangeResponse{NewState: nil, Diagnostics: errors(faults)}
	}
	journal(object{
		"method": "PUT", "type": str(planned, "type"), "id": id, "parent_id": str(planned, "parent_id"),
		"name": str(planned, "name"), "body": request(sent), "created": !existed,
	})
	return &tfprotov6.ApplyResourceChangeResponse{NewState: write(schema, planned)}
}

func (p *provider) post(schema *tfprotov6.Schema, planned map[string]tftypes.Value) *tfprotov6.ApplyResourceChangeResponse {
	id := str(planned, "resource_id") + "/" + str(planned, "action")
	planned["id"] = tftypes.NewValue(text, id)
	planned["output"] = outputOf(planned, id)
	journal(object{"method": "POST", "type": str(planned, "type"), "id": id})
	return &tfprotov6.ApplyResourceChangeResponse{NewState: write(schema, planned)}
}

// --- data and what is kept nowhere -----------------------------------------------------------

func (p *provider) ValidateDataResourceConfig(context.Context, *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return &tfprotov6.ValidateDataResourceConfigResponse{}, nil
}

func (p *provider) ReadDataSource(context.Context, *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	fields := map[string]tftypes.Value{
		"id":              tftypes.NewValue(text, "here"),
		"subscription_id": tftypes.NewValue(text, subscription),
		"tenant_id":       tftypes.NewValue(text, "00000000-0000-0000-0000-000000000002"),
		"object_id":       tftypes.NewValue(text, "00000000-0000-0000-0000-000000000003"),
	}
	return &tfprotov6.ReadDataSourceResponse{State: write(clientConfigSchema, fields)}, nil
}

func (p *provider) ValidateEphemeralResourceConfig(_ context.Context, asked *tfprotov6.ValidateEphemeralResourceConfigRequest) (*tfprotov6.ValidateEphemeralResourceConfigResponse, error) {
	fields, _ := read(ephemeralActionSchema, asked.Config)
	return &tfprotov6.ValidateEphemeralResourceConfigResponse{Diagnostics: errors(faultsOfAction(fields))}, nil
}

func (p *provider) OpenEphemeralResource(_ context.Context, asked *tfprotov6.OpenEphemeralResourceRequest) (*tfprotov6.OpenEphemeralResourceResponse, error) {
	fields, _ := read(ephemeralActionSchema, asked.Config)
	id := str(fields, "resource_id") + "/" + str(fields, "action")
	fields["id"] = tftypes.NewValue(text, id)
	fields["output"] = outputOf(fields, id)
	journal(object{"method": "POST", "type": str(fields, "type"), "id": id})
	return &tfprotov6.OpenEphemeralResourceResponse{Result: write(ephemeralActionSchema, fields)}, nil
}

func (p *provider) CloseEphemeralResource(context.Context, *tfprotov6.CloseEphemeralResourceRequest) (*tfprotov6.CloseEphemeralResourceResponse, error) {
	return &tfprotov6.CloseEphemeralResourceResponse{}, nil
}

// --- what Azure would say --------------------------------------------------------------------

// request is the body as azapi would send it: tags, location and identity are attributes there.
func request(fields map[string]tftypes.Value) object {
	body, _ := merged(plain(fields["body"]), plain(fields["sensitive_body"])).(object)
	result := object{}
	for name, value := range body {
		result[name] = value
	}
	for _, name := range []string{"location", "tags"} {
		if value := plain(fields[name]); value != nil {
			result[name] = value
		}
	}
	if blocks, known := plain(fields["identity"]).([]any); known && len(blocks) == 1 {
		block := blocks[0].(object)
		assigned := object{}
		ids, _ := block["identity_ids"].([]any)
		for _, id := range ids {
			if name, known := id.(string); known {
				assigned[name] = object{}
			}
		}
		result["identity"] = object{"type": block["type"], "userAssignedIdentities": assigned}
	}
	return result
}

func faultsOf(fields map[string]tftypes.Value) []string {
	kind := str(fields, "type")
	types, known := load(kind)
	if !known {
		return []string{fmt.Sprintf("type: %q is not at hand: a typing mistake, or its types are to be put to the others", kind)}
	}
	if name, given := plain(fields["name"]).(string); given && name == "" {
		return []string{"name: is empty"}
	}
	body := request(fields)
	body["name"] = plain(fields["name"])
	if _, unknown := plain(fields["body"]).(notKnown); unknown {
		return nil
	}
	return types.check(body)
}

func faultsOfAction(fields map[string]tftypes.Value) []string {
	kind := str(fields, "type")
	if _, known := load(kind); !known && kind != "Microsoft.Web/sites/functions@2025-03-01" {
		return []string{fmt.Sprintf("type: %q is not at hand", kind)}
	}
	return nil
}

// idOf: a child hangs under its parent, everything else under a scope.
func idOf(kind, parent, name string) string {
	resource := strings.Split(kind, "@")[0]
	parts := strings.Split(resource, "/")
	if len(parts) > 2 {
		return parent + "/" + parts[len(parts)-1] + "/" + name
	}
	return parent + "/providers/" + resource + "/" + name
}

// outputOf makes up each exported value: always the same for one resource, never that of another.
func outputOf(fields map[string]tftypes.Value, id string) tftypes.Value {
	exported, _ := plain(fields["response_export_values"]).([]any)
	result := object{}
	for _, each := range exported {
		path := strings.Split(each.(string), ".")
		at := result
		for _, part := range path[:len(path)-1] {
			if _, exists := at[part]; !exists {
				at[part] = object{}
			}
			at = at[part].(object)
		}
		at[path[len(path)-1]] = madeUp(path[len(path)-1], id)
	}
	return dynamicOf(result)
}

func madeUp(name, id string) string {
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(id+"|"+name)))
	switch name {
	case "principalId", "clientId":
		return fmt.Sprintf("%s-%s-4%s-8%s-%s", hash[:8], hash[8:12], hash[13:16], hash[17:20], hash[20:32])
	case "defaultHostName":
		return id[strings.LastIndex(id, "/")+1:] + ".azurewebsites.net"
	case "default":
		return "made-up-function-key-" + hash[:20]
	}
	return "made-up-" + name + "-" + hash[:12]
}

func errors(faults []string) []*tfprotov6.Diagnostic {
	var found []*tfprotov6.Diagnostic
	for _, fault := range faults {
		found = append(found, &tfprotov6.Diagnostic{
			Severity: tfprotov6.DiagnosticSeverityError, Summary: "not as Azure's types have it", Detail: fault,
		})
	}
	return found
}

func journal(line object) {
	path := os.Getenv("STANDIN_JOURNAL")
	if path == "" {
		return
	}
	content, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	if _, err := file.Write(append(content, '\n')); err != nil {
		panic(err)
	}
}
