//! `dauer info`: the daemon and its drivers.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;

/// The daemon and its drivers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let info = context.client().await?.info().await?;
    if args.json {
        render::print_json(&info)?;
        return Ok(0);
    }
    render::print(&format!(
        "daemon     {} (process {})\ndata       {}\nsocket     {}\nstore      {}\nnode       {}\nauto is    {}\n\n",
        info.version,
        info.pid,
        info.data_dir,
        info.run_dir,
        info.store.as_deref().unwrap_or("-"),
        info.node.as_deref().unwrap_or("-"),
        info.default_driver
    ))?;
    let mut table = render::table(&["DRIVER", "RUNS", "FREEZES", "VERSION"]);
    for driver in &info.drivers {
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        table.add_row(vec![
            driver.name.as_str(),
            yes(driver.usable),
            yes(driver.checkpoints),
            driver.version.as_deref().unwrap_or("-"),
        ]);
    }
    render::print(&render::trimmed(&table))?;
    Ok(0)
}
