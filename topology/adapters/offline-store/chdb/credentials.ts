import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { HttpFailure } from './engine-error.ts'

/** The one user that the embedded engine is served to. */
export interface Credentials {
  readonly username: string
  readonly password: string
}

function basic(header: string | undefined): Credentials | null {
  const encoded = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(header ?? '')?.[1]
  if (encoded === undefined) return null
  const text = Buffer.from(encoded, 'base64').toString('utf8')
  const at = text.indexOf(':')
  return at < 0 ? null : { username: text.slice(0, at), password: text.slice(at + 1) }
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

/** User and password of a request, in the places where ClickHouse takes them; the user `default` where none is named. */
function given(request: IncomingMessage, url: URL): Credentials {
  const user = single(request.headers['x-clickhouse-user'])
  const key = single(request.headers['x-clickhouse-key'])
  if (user !== undefined || key !== undefined) return { username: user ?? 'default', password: key ?? '' }
  const { searchParams } = url
  const named = { username: searchParams.get('user') ?? 'default', password: searchParams.get('password') ?? '' }
  return basic(request.headers.authorization) ?? named
}

function same(left: string, right: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(left), digest(right))
}

/** Refuses a request that does not come with the one user's name and password, as ClickHouse does. */
export function requireCredentials(wanted: Credentials, request: IncomingMessage, url: URL): void {
  const { username, password } = given(request, url)
  const known = [same(username, wanted.username), same(password, wanted.password)]
  if (known.every(Boolean)) return
  const message = `${username}: Authentication failed: password is incorrect, or there is no user with such name.`
  throw new HttpFailure(516, 'AUTHENTICATION_FAILED', message, 403)
}
