//! `millgate`: the one executable.

use clap::{Parser, Subcommand};
use millgate::{audit_cmd, check, demo, identity_cmd, policy_cmd, serve, witness_cmd};
use std::process::ExitCode;

/// Requests are many small allocations that end on other threads than they began on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Policy-based data governance and access broker for manufacturers
#[derive(Debug, Parser)]
#[command(name = "millgate", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit status: 0 fine; 1 a finding (denied, not valid, damaged); 2 usage or configuration.\n\n\
    Begin with `millgate demo`: a complete plant on this machine, nothing to install.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a complete example plant on 127.0.0.1 and print a tour of it
    Demo(demo::Args),
    /// Serve as configured until SIGTERM
    Serve(serve::Args),
    /// Say everything that is wrong with a configuration, its catalog, registry and policies
    Check(check::Args),
    /// Ask the audit log, follow it, check its store
    #[command(subcommand)]
    Audit(Box<audit_cmd::Command>),
    /// Cosign the checkpoints of other people's logs, so that nobody can keep two histories
    Witness(witness_cmd::WitnessArgs),
    /// Say what Millgate makes of a token or a certificate
    #[command(subcommand)]
    Identity(identity_cmd::Command),
    /// Try policies before the plant does
    #[command(subcommand)]
    Policy(policy_cmd::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::anyhow!("the runtime could not be started: {error}")),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Check(args) => check::run(&args),
            Command::Audit(command) => Box::pin(audit_cmd::run(*command)).await,
            Command::Witness(args) => witness_cmd::run(args).await,
            Command::Identity(command) => identity_cmd::run(command).await,
            Command::Policy(command) => policy_cmd::run(command).await,
        }
    });
    // Blocking tasks (a read of standard input) must not hold up the end.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| fail(&error))
}

#[expect(clippy::print_stderr, reason = "a command line speaks to its user")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("millgate: {error:#}");
    ExitCode::from(if error.is::<millgate::Refused>() { 1 } else { 2 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// Clap looks at a command only when it is called, and ends the program then.
    #[test]
    fn every_command_has_arguments_that_go_together() {
        Cli::command().debug_assert();
    }
}
