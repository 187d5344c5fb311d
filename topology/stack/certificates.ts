import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PortError } from '../ports/errors.ts'

/** PEM files of an authority made for one stack, and of a server and a client that it vouches for. */
export interface Certificates {
  readonly ca: string
  readonly serverCert: string
  readonly serverKey: string
  readonly clientCert: string
  readonly clientKey: string
}

const VALID_DAYS = '3650'
const NAMES = 'subjectAltName=IP:127.0.0.1,DNS:localhost'

function openssl(folder: string, args: readonly string[]): void {
  const run = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' })
  if (run.error !== undefined) {
    throw new PortError('SERVER_UNAVAILABLE', 'openssl is not on the PATH; install it to start servers with TLS')
  }
  if (run.status !== 0) {
    throw new PortError('SERVER_FAILED', `openssl ${args[0]} failed: ${run.stderr.trim()}`)
  }
}

function key(folder: string, name: string): void {
  openssl(folder, ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', `${name}.key`])
  chmodSync(join(folder, `${name}.key`), 0o600)
}

/**
 * Makes an authority, and certificates for a server on loopback and for a client, in `folder`/certificates.
 * Keys are PKCS #8 on P-256, as Redis, Kafka and Node all read them.
 * @throws PortError SERVER_UNAVAILABLE when openssl is not installed
 */
export function makeCertificates(folder: string): Certificates {
  const place = join(folder, 'certificates')
  mkdirSync(place, { recursive: true })
  key(place, 'ca')
  const authority = ['-x509', '-new', '-key', 'ca.key', '-days', VALID_DAYS, '-subj', '/CN=headwater test authority']
  openssl(place, ['req', ...authority, '-addext', 'basicConstraints=critical,CA:TRUE', '-out', 'ca.pem'])
  writeFileSync(join(place, 'names.cnf'), `${NAMES}\n`)
  for (const name of ['server', 'client']) {
    key(place, name)
    openssl(place, ['req', '-new', '-key', `${name}.key`, '-subj', `/CN=${name}`, '-out', `${name}.csr`])
    const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', VALID_DAYS]
    openssl(place, ['x509', '-req', '-in', `${name}.csr`, ...signed, '-extfile', 'names.cnf', '-out', `${name}.pem`])
  }
  return {
    ca: join(place, 'ca.pem'),
    serverCert: join(place, 'server.pem'),
    serverKey: join(place, 'server.key'),
    clientCert: join(place, 'client.pem'),
    clientKey: join(place, 'client.key'),
  }
}
