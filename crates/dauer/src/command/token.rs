//! `dauer token`: tokens for callers over a network.

use crate::context::Context;
use crate::failure::{Outcome, report};
use crate::render;
use dauer_core::parse;
use dauer_wire::http::{CreateToken, Span, TokenView};

/// Tokens for callers over a network.
///
/// Who reaches the daemon's TCP address shows one; on the unix socket none is needed. docs/access.md says what each scope allows.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer token create --scope submit --ttl 30d --name build
  DAUER_HOST=https://build:8443 DAUER_TOKEN=dauer_… dauer ps")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a token and print it, this once
    Create {
        /// What it allows: read, submit (also act on jobs), admin
        #[arg(long, value_parser = ["read", "submit", "admin"])]
        scope: String,
        /// Worth nothing after so long: 12h, 30d; `never` for one without an end
        #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = ttl)]
        ttl: Ttl,
        /// What it is for
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// All that is known of it, as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tokens, without their secrets
    Ls {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Make tokens worth nothing
    Rm {
        /// Their ids
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    Never,
    Ms(u64),
}

fn ttl(text: &str) -> Result<Ttl, String> {
    match text {
        "never" => Ok(Ttl::Never),
        other => parse::duration_ms(other).map(Ttl::Ms),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    match args.what {
        What::Create {
            scope,
            ttl,
            name,
            json,
        } => {
            let ttl = match ttl {
                Ttl::Never => None,
                Ttl::Ms(ms) => Some(Span::Ms(ms)),
            };
            let created = client
                .create_token(&CreateToken { name, scope, ttl })
                .await?;
            if json {
                render::print_json(&created)?;
            } else {
                render::print(&format!("{}\n", created.token))?;
            }
            Ok(0)
        }
        What::Ls { json } => {
            let tokens = client.tokens().await?;
            if json {
                render::print_json(&tokens)?;
            } else {
                render::print(&table(&tokens, jiff::Timestamp::now().as_millisecond()))?;
            }
            Ok(0)
        }
        What::Rm { ids } => {
            let mut code = 0;
            for id in &ids {
                match client.remove_token(id).await {
                    Ok(()) => render::print(&format!("{id}\n"))?,
                    Err(error) if error.is_disconnect() => return Err(error.into()),
                    Err(error) => {
                        report(&error.to_string());
                        code = 1;
                    }
                }
            }
            Ok(code)
        }
    }
}

fn table(tokens: &[TokenView], now_ms: i64) -> String {
    let mut table = render::table(&["ID", "NAME", "SCOPE", "AGE", "ENDS", "LAST USED"]);
    for token in tokens {
        let ends = match token.expires_at {
            None => "never".to_owned(),
            Some(at) if at <= now_ms => "expired".to_owned(),
            Some(at) => format!("in {}", render::duration(at - now_ms)),
        };
        let used = token.last_used_at.map_or_else(
            || "never".to_owned(),
            |at| format!("{} ago", render::duration(now_ms - at)),
        );
        table.add_row([
            token.id.clone(),
            token.name.clone().unwrap_or_else(|| "-".to_owned()),
            token.scope.clone(),
            render::duration(now_ms - token.created_at),
            ends,
            used,
        ]);
    }
    render::trimmed(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_for_a_duration_or_for_ever() {
        assert_eq!(ttl("2h"), Ok(Ttl::Ms(7_200_000)));
        assert_eq!(ttl("never"), Ok(Ttl::Never));
        assert!(ttl("soon").is_err());
    }
}
