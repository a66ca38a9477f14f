# Good and bad input, run by test_terraform.py against the stand-in of this folder. Plans only.

variables {
  resource_group_name  = "rg-test"
  location             = "westeurope"
  environment          = "prod"
  admin_ssh_public_key = "ssh-ed25519 AAAA"
  operator_addresses   = ["203.0.113.7/32"]
  xmpp_passwords       = { a = "one", b = "two" }
  shards = {
    a = {
      zone        = "1"
      max_bridges = 3
      signalling  = { address = "10.20.1.4", domain = "auth.example.org", muc = "m@example.org", secret_name = "xmpp-a" }
    }
    b = {
      zone        = "2"
      max_bridges = 14
      surge       = 2
      signalling  = { address = "10.20.1.5", domain = "auth.example.org", muc = "m@example.org", secret_name = "xmpp-b" }
    }
  }
}

run "production" {
  command = plan

  assert {
    condition     = output.addresses.a.prefix_length == 30 && output.addresses.b.prefix_length == 28
    error_message = "3 + 1 bridges need 4 addresses, 14 + 2 need 16"
  }
  assert {
    condition     = startswith(output.next, "func azure functionapp publish ")
    error_message = "before the app is connected the next step is to publish it"
  }
}

run "more_than_sixteen_addresses" {
  command = plan
  variables {
    shards = {
      a = {
        zone        = "1"
        max_bridges = 16
        signalling  = { address = "10.20.1.4", domain = "auth.example.org", muc = "m@example.org", secret_name = "xmpp-a" }
      }
    }
  }
  expect_failures = [var.shards]
}

run "a_zone_that_does_not_exist" {
  command = plan
  variables {
    shards = {
      a = {
        zone        = "4"
        max_bridges = 3
        signalling  = { address = "10.20.1.4", domain = "auth.example.org", muc = "m@example.org", secret_name = "xmpp-a" }
      }
    }
  }
  expect_failures = [var.shards]
}

run "two_shards_with_one_secret" {
  command = plan
  variables {
    shards = {
      a = { zone = "1", max_bridges = 3, signalling = { address = "10.20.1.4", domain = "d", muc = "m", secret_name = "same" } }
      b = { zone = "2", max_bridges = 3, signalling = { address = "10.20.1.4", domain = "d", muc = "m", secret_name = "same" } }
    }
  }
  expect_failures = [var.shards]
}

run "a_policy_that_sets_what_is_made_here" {
  command = plan
  variables {
    policy = { max_bridges = 20 }
  }
  expect_failures = [var.shard_policies]
}

run "a_policy_of_no_shard" {
  command = plan
  variables {
    shard_policies = { c = { min_bridges = 2 } }
  }
  expect_failures = [var.shard_policies]
}

run "no_public_key" {
  command = plan
  variables {
    admin_ssh_public_key = "-----BEGIN PRIVATE KEY-----"
  }
  expect_failures = [var.admin_ssh_public_key]
}

run "the_whole_internet_as_operators" {
  command = plan
  variables {
    operator_addresses = ["0.0.0.0/0"]
  }
  expect_failures = [var.operator_addresses]
}

run "a_region_by_its_display_name" {
  command = plan
  variables {
    location = "West Europe"
  }
  expect_failures = [var.location]
}

run "a_subnet_too_small_for_the_app" {
  command = plan
  variables {
    network = {
      address_space = "10.20.0.0/16", bridges = "10.20.0.0/24", signalling = "10.20.1.0/24",
      function      = "10.20.2.0/28", endpoints = "10.20.2.32/28"
    }
  }
  expect_failures = [var.network]
}
