// A stand-in for the azapi provider, for machines that reach neither Terraform's registry nor Azure.
//
// It speaks Terraform's plugin protocol, has those attributes of azapi 2.12 that this project uses, and checks each
// body against Azure's published types. An apply sends nothing: it writes one line of JSON for each request that the
// real provider would send into the file that STANDIN_JOURNAL names, and makes up what Azure would answer.
package main

import (
	"log"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
)

func main() {
	serve := func() tfprotov6.ProviderServer { return &provider{} }
	if err := tf6server.Serve("registry.terraform.io/azure/azapi", serve); err != nil {
		log.Fatal(err)
	}
}
