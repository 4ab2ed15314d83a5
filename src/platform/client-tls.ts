/** TLS of our clients: whom they believe, and what is said about a server that they do not believe. */
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { ioError } from './io-error.ts';

/** Hundreds of certificates, of which a context takes 30 ms to make. */
let usual: tls.SecureContext | undefined;

/**
 * Who vouches for a server: those in the PEM file, without one the authorities that Node knows and those of the operating
 * system, to which `update-ca-certificates` adds.
 *
 * @throws BackupError NOT_FOUND, PERMISSION_DENIED, IO_ERROR
 */
export function authorities(caFile: string | undefined): tls.ConnectionOptions {
  if (caFile !== undefined) {
    try {
      return { ca: readFileSync(caFile) };
    } catch (error) {
      throw ioError(error, 'read', caFile);
    }
  }
  usual ??= tls.createSecureContext({
    ca: [...new Set([...tls.getCACertificates('default'), ...tls.getCACertificates('system')])],
  });
  return { secureContext: usual };
}

/** Of OpenSSL, as Node names them: the chain ends at nobody who is known. */
const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** What a handshake failed of, and what to do, if `ifUnknown` is that about an authority nobody knows here. */
export function handshakeFault(
  error: Error,
  host: string,
  ifUnknown: string,
): { reason: string; remedy: string } {
  const { code, cert } = error as NodeJS.ErrnoException & { cert?: tls.PeerCertificate };
  // Node adds what to do with Node.
  const message = error.message.replace(/; if the root CA is .*$/s, '');
  if (code !== undefined && UNKNOWN_AUTHORITY.has(code)) {
    const reason = `nobody who is known here vouches for its certificate (${message})`;
    return { reason, remedy: `If it is the right server, ${ifUnknown}` };
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = cert?.subjectaltname ?? cert?.subject.CN ?? 'nobody';
    return {
      reason: `its certificate is for ${names}, and not for ${host}`,
      remedy: 'Name the server as its certificate does, or give it one for this name',
    };
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    return {
      reason: message,
      remedy: 'Give the server a certificate that is valid now, and check both clocks',
    };
  }
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return {
      reason: 'it speaks no TLS there from the first byte',
      remedy: 'Check the port, or leave TLS to STARTTLS',
    };
  }
  return {
    reason: message,
    remedy: 'Check the certificate of the server and the versions of TLS that it speaks',
  };
}
