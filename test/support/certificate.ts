import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Certificate = { readonly key: string; readonly cert: string };

/** Creates a key and a self-signed certificate for `localhost` and 127.0.0.1. */
export function makeCertificate(): Certificate {
  const directory = mkdtempSync(join(tmpdir(), 'relay-certificate-'));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const of = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
  const name = ['-subj', '/CN=localhost', '-addext', names];
  try {
    execFileSync('openssl', ['req', '-x509', ...of, ...name, '-keyout', key, '-out', cert], {
      stdio: 'pipe',
    });
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
