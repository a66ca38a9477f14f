terraform {
  # 1.11: write-only arguments, which keep the secrets of a second apply out of the state.
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    azapi = {
      source  = "Azure/azapi"
      version = "~> 2.12"
    }
  }
}

provider "azapi" {}
