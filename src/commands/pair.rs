use anyhow::Result;
pub(crate) fn primary(_: &crate::cli::RunArgs) -> Result<u8> {
    Ok(0)
}
pub(crate) fn backup(_: &crate::cli::RunArgs) -> Result<u8> {
    Ok(0)
}
