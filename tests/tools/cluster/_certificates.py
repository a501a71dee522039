"""Keys and certificates of one cluster, by openssl: an authority, the API server, clients; and tokens.

Elliptic keys, since they are made in milliseconds; RSA for service accounts, since the signature of a token
(RS256) is then what openssl prints. Extensions are complete: Python 3.13 verifies strictly.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from ._network import API

ADMIN_TOKEN = "admin-token"

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")


def create(folder: Path, cluster_domain: str) -> None:
    """Everything that the parts of the control plane read, and the administrator's kubeconfig."""
    _openssl(
        "req", "-x509", *_EC, "-subj", "/CN=test-ca", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt",
    )  # fmt: skip
    service = "kubernetes.default.svc"
    names = f"IP:{API},IP:127.0.0.1,DNS:localhost,DNS:{service},DNS:{service}.{cluster_domain}"
    sign(folder, "apiserver", "/CN=kube-apiserver", f"extendedKeyUsage=serverAuth\nsubjectAltName={names}\n")
    _openssl("genrsa", "-out", f"{folder}/sa.key", "2048")
    folder.joinpath("tokens.csv").write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
    folder.joinpath("kubeconfig").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "cluster",
                "clusters": [
                    {
                        "name": "cluster",
                        "cluster": {"server": f"https://{API}", "certificate-authority": f"{folder}/ca.crt"},
                    }
                ],
                "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
                "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "admin"}}],
            },
            indent=1,
        )
    )


def sign(folder: Path, name: str, subject: str, extensions: str) -> tuple[Path, Path]:
    """A certificate of the cluster's authority and its key: NAME.crt and NAME.key in the folder."""
    key, request, certificate, extra = (folder / f"{name}.{end}" for end in ("key", "csr", "crt", "ext"))
    _openssl("req", *_EC[:-2], "-subj", subject, "-keyout", str(key), "-out", str(request))
    extra.write_text(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        f"subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n{extensions}"
    )
    _openssl(
        "x509", "-req", "-in", str(request), "-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key",
        "-CAcreateserial", "-days", "30", "-extfile", str(extra), "-out", str(certificate),
    )  # fmt: skip
    request.unlink()
    extra.unlink()
    return certificate, key


def sign_token(folder: Path, claims: dict[str, Any]) -> str:
    """A token with these claims, signed as the API server signs those of service accounts."""
    public = _openssl("rsa", "-in", f"{folder}/sa.key", "-pubout", "-outform", "DER")
    digest = _openssl("dgst", "-sha256", "-binary", text=public)
    # The key's id is made as Kubernetes makes it (pkg/serviceaccount: keyIDFromPublicKey).
    header = {"alg": "RS256", "kid": _base64(digest)}
    signed = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return (
        f"{signed}.{_base64(_openssl('dgst', '-sha256', '-sign', f'{folder}/sa.key', text=signed.encode()))}"
    )


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*arguments: str, text: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=text, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
