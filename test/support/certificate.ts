import { writeFileSync } from 'node:fs';
import path from 'node:path';

// A self-signed certificate for localhost with its key, good until 2126; it protects nothing.
const CERT = `-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUeKQJAcVRc4NXutRHQOpgFEkPsAswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzA4NTgyNVoYDzIxMjYxMDMw
MDg1ODI1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASZYNqPCrPzSgZZCqoHX9Y0o0STyzwP9y+mAKweodEtky8PUlNREKKW
xpmwILxGOdkjKwVn6Hu2tYuE7vIqfPUno1MwUTAdBgNVHQ4EFgQUu0VCecHHUPom
aFSSIc1D6b8293IwHwYDVR0jBBgwFoAUu0VCecHHUPomaFSSIc1D6b8293IwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA340/yxdURCOxfV/7lbaf
vx5Y4r1lycRej400dv5zjacCIQCtOy3kCwRhlt492cwyI7gs/7AfvyuMFoEyArrX
koUA3Q==
-----END CERTIFICATE-----
`;
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgGseK915GdZdXvH9A
F9wWR/DhFSBxdNmA7vQGtL0CD2OhRANCAASZYNqPCrPzSgZZCqoHX9Y0o0STyzwP
9y+mAKweodEtky8PUlNREKKWxpmwILxGOdkjKwVn6Hu2tYuE7vIqfPUn
-----END PRIVATE KEY-----
`;

/** Puts a certificate for localhost and its key into a folder; returns the options that name them. */
export function selfSigned(dir: string): { tls_server_cert: string; tls_server_key: string } {
  const [cert, key] = [path.join(dir, 'tls.crt'), path.join(dir, 'tls.key')];
  writeFileSync(cert, CERT);
  writeFileSync(key, KEY, { mode: 0o600 });
  return { tls_server_cert: cert, tls_server_key: key };
}
