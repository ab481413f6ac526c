use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use gim_core::files::{create_folder, write_atomic};
use gim_core::{Error, Result};

use super::Program;
use crate::output::{print, print_line};

/// Print the completions of a shell, or write the manual pages.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gim completions bash > ~/.local/share/bash-completion/completions/gim\n         \
                        gim completions --man ~/.local/share/man/man1")]
pub struct Args {
    /// The shell.
    #[arg(required_unless_present = "man")]
    shell: Option<Shell>,
    /// Write the manual pages into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "shell")]
    man: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut program = Program::command();
        if let Some(shell) = self.shell {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut program, "gim", &mut script);
            print(String::from_utf8_lossy(&script))?;
        }
        if let Some(folder) = self.man {
            create_folder(&folder)?;
            program.build();
            let verbs = program.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
            for command in std::iter::once(&program).chain(verbs) {
                let page = clap_mangen::Man::new(command.clone());
                let path = folder.join(page.get_filename());
                let mut text = Vec::new();
                page.render(&mut text).map_err(|e| Error::io(&path, "write", e))?;
                write_atomic(&path, &text)?;
                print_line(path.display())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
