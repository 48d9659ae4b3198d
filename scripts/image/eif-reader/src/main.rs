//! `eif-reader IMAGE`: what AWS's own crate reads in an image, as JSON; exit code 1 if it refuses.
//!
//! Its checksum and its signature are judged too, which `nitro-cli describe-eif` only reports.

use std::process::ExitCode;

use aws_nitro_enclaves_image_format::utils::{
    eif_reader::EifReader, get_pcrs, PcrSignatureChecker,
};
use sha2::{Digest, Sha384};

fn describe(path: &str) -> Result<serde_json::Value, String> {
    let mut reader = EifReader::from_eif(path.to_string())?;
    if !reader.check_crc() {
        return Err("the checksum is wrong".to_string());
    }
    let metadata = reader.get_metadata().ok_or("there is no metadata")?;
    let signed = reader.signature_section.is_some();
    let measurements = get_pcrs(
        &mut reader.image_hasher,
        &mut reader.bootstrap_hasher,
        &mut reader.app_hasher,
        &mut reader.cert_hasher,
        Sha384::new(),
        signed,
    )?;
    if signed {
        // refuses a certificate that has expired too, as starting an enclave does
        let mut checker = PcrSignatureChecker::from_eif(path).map_err(|e| format!("{e:?}"))?;
        checker.verify().map_err(|e| format!("{e:?}"))?;
        let certificate = reader.get_certificate_info(measurements.clone())?;
        if reader.sign_check != Some(true) {
            return Err(format!(
                "the signature of {:?} is of another image",
                certificate.issuer_name
            ));
        }
    }
    Ok(serde_json::json!({"Measurements": measurements, "Metadata": metadata}))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else {
        eprintln!("eif-reader IMAGE");
        return ExitCode::from(2);
    };
    match describe(path) {
        Ok(description) => {
            println!("{description:#}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
