import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where downloads are kept between runs: `headwater` in the user's cache folder. */
export function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME']
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'headwater')
}
