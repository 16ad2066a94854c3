//! `eventrelay completions`.

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "\
  eventrelay completions bash > ~/.local/share/bash-completion/completions/eventrelay
  eventrelay completions zsh > ~/.zfunc/_eventrelay
  eventrelay completions fish > ~/.config/fish/completions/eventrelay.fish")]
pub(crate) struct CompletionsArguments {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
