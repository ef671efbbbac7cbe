use anyhow::Result;
pub(crate) fn run(_: &crate::cli::DemoArgs) -> Result<u8> {
    Ok(0)
}
