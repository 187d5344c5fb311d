import { readFileSync } from 'node:fs'
import { PortError } from '../ports/errors.ts'
import type { PortErrorCode } from '../ports/errors.ts'

/** Contents of PEM files; what is not configured is left out. */
export interface PemFiles {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/**
 * Reads the files that one part's `tlsCa`, `tlsCert` and `tlsKey` name; empty paths name none.
 * @param part prefix of the settings, such as `eventLog`
 * @throws PortError of the given code, naming setting and reason, for a file that cannot be read
 */
export function readPemFiles(
  part: string,
  { tlsCa, tlsCert, tlsKey }: { readonly tlsCa: string; readonly tlsCert: string; readonly tlsKey: string },
  code: PortErrorCode,
): PemFiles {
  const read = (setting: string, path: string): string => {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw new PortError(code, `${part}.${setting} cannot be read: ${reason}`, { cause: error })
    }
  }
  return {
    ...(tlsCa === '' ? {} : { ca: read('tlsCa', tlsCa) }),
    ...(tlsCert === '' ? {} : { cert: read('tlsCert', tlsCert) }),
    ...(tlsKey === '' ? {} : { key: read('tlsKey', tlsKey) }),
  }
}
