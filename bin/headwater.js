#!/usr/bin/env node
/** The command: finds its entry (sources in a checkout, built files in an installed package) and runs it on the pinned Node. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { becomeNode } from './pinned-node.js'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(root, 'services', 'cli', 'main.ts')
const built = join(root, 'dist', 'services', 'cli', 'main.js')

try {
  if (existsSync(source)) {
    const { ensureDependencies } = await import('./setup.js')
    await ensureDependencies(root)
    becomeNode(source, process.argv.slice(2))
  } else if (existsSync(built)) {
    becomeNode(built, process.argv.slice(2))
  } else {
    throw new Error(`${built} is missing: the package is incomplete.\nRemedy: install headwater again.`)
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
