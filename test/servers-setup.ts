import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { endRecorded, recordedServers } from '../topology/stack/server-process.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Holds the folder of every server that a run starts, and `not-run`, a line for each block that had none. */
    serversFolder: string
  }
}

/** Before a run: the folder of its servers. After it: ends those that a killed test left, and says what was not run. */
export function setup(project: TestProject): () => Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-servers-'))
  project.provide('serversFolder', folder)
  return async () => {
    await Promise.all(recordedServers(folder).map(record => endRecorded(record, 0)))
    const notRun = join(folder, 'not-run')
    if (existsSync(notRun)) console.error(`\n${readFileSync(notRun, 'utf8')}`)
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}
