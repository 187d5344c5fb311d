/**
 * Builds dist/, which an installed package runs (Node strips no types under node_modules): JavaScript and declarations
 * of features, topology, services and the generated protocol code, and every other file that they read at run time, in
 * the same relative places.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folders = ['features', 'topology', 'services', 'protos']
const dist = join(root, 'dist')
const scaffold = join('services', 'cli', 'scaffold') + sep
const notAssets = /\.(tsx?|mts|py|md)$|(^|[\\/])(requirements.*\.txt|buf(\.gen)?\.yaml)$/
const notAssetFolders = /(^|[\\/])(__pycache__|\.venv|node_modules|decisions|deploy)([\\/]|$)/

rmSync(dist, { recursive: true, force: true })
const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')
const compiled = spawnSync(process.execPath, [compiler, '-p', join(root, 'tsconfig.build.json')], { stdio: 'inherit' })
if (compiled.status !== 0) {
  process.stderr.write('The build failed: the compiler reports the errors above.\n')
  process.exit(1)
}
let assets = 0
for (const folder of folders) {
  for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
    const file = relative(root, join(entry.parentPath, entry.name))
    if (!entry.isFile() || notAssetFolders.test(dirname(file))) continue
    if (!file.startsWith(scaffold) && notAssets.test(file)) continue
    mkdirSync(dirname(join(dist, file)), { recursive: true })
    copyFileSync(join(root, file), join(dist, file))
    assets++
  }
}
process.stdout.write(`Built dist/ with ${assets} assets.\n`)
