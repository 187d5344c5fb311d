/**
 * Makes a checkout ready to run, and runs a script of it on the pinned Node:
 *
 *     node bin/setup.js [SCRIPT [ARGUMENT...]]
 *
 * Dependencies are installed with `npm ci` when node_modules is missing or differs from package-lock.json.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { becomeNode } from './pinned-node.js'

const progressIntervalMs = 5000

/**
 * @typedef {{ version?: string, integrity?: string, optional?: boolean, link?: boolean }} LockedPackage
 * @param {string} file
 * @returns {Readonly<Record<string, LockedPackage>>}
 */
function lockedPackages(file) {
  return JSON.parse(readFileSync(file, 'utf8')).packages ?? {}
}

/**
 * Why the dependencies in `root` must be installed, or null when they are as package-lock.json says.
 * @param {string} root
 * @returns {string | null}
 */
export function setupReason(root) {
  const installedFile = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedFile)) return 'node_modules is missing'
  const installed = lockedPackages(installedFile)
  for (const [path, locked] of Object.entries(lockedPackages(join(root, 'package-lock.json')))) {
    if (path === '' || locked.link === true) continue
    const present = installed[path]
    if (present === undefined && locked.optional === true) continue
    if (present?.version !== locked.version) {
      return `${path} is ${present?.version ?? 'missing'}, package-lock.json says ${locked.version}`
    }
  }
  return null
}

/**
 * @param {string} folder
 * @returns {number} size in MB of all files unpacked so far
 */
function unpackedMegabytes(folder) {
  let bytes = 0
  try {
    for (const file of readdirSync(folder, { recursive: true })) {
      bytes += statSync(join(folder, String(file)), { throwIfNoEntry: false })?.size ?? 0
    }
  } catch {
    // npm moves folders while it unpacks: what was seen so far is progress enough.
  }
  return Math.round(bytes / 1e6)
}

/**
 * Runs `npm ci` in `root` when it is needed, with a line of progress every few seconds on standard error.
 * @param {string} root
 * @returns {Promise<void>}
 */
export async function ensureDependencies(root) {
  const reason = setupReason(root)
  if (reason === null) return
  process.stderr.write(`Setting up: ${reason}. Running "npm ci" (about 470 MB to download, once).\n`)
  const startedMs = Date.now()
  const timer = setInterval(() => {
    const seconds = Math.round((Date.now() - startedMs) / 1000)
    process.stderr.write(`  ${seconds} s: ${unpackedMegabytes(join(root, 'node_modules'))} MB unpacked\n`)
  }, progressIntervalMs)
  try {
    await npmInstall(root)
  } finally {
    clearInterval(timer)
  }
  process.stderr.write(`Set up in ${Math.round((Date.now() - startedMs) / 1000)} s.\n`)
}

/**
 * @param {string} root
 * @returns {Promise<void>}
 */
function npmInstall(root) {
  const args = ['ci', '--include=dev', '--include=optional', '--loglevel=error']
  const npmCli = process.env['npm_execpath']
  const viaNpm = npmCli !== undefined && /npm-cli\.c?js$/.test(npmCli)
  const child = viaNpm
    ? spawn(process.execPath, [npmCli, ...args], { cwd: root, stdio: ['ignore', 2, 2] })
    : spawn('npm', args, { cwd: root, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' })
  return new Promise((done, fail) => {
    child.once('error', error => fail(new Error(`npm could not be started: ${error.message}\nRemedy: install npm.`)))
    child.once('exit', code => {
      if (code === 0) done()
      else
        fail(
          new Error(
            `"npm ci" failed in ${root} (exit code ${code}); its messages are above.\nRemedy: check the network and run the command again.`,
          ),
        )
    })
  })
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))) {
  const root = dirname(dirname(fileURLToPath(import.meta.url)))
  try {
    await ensureDependencies(root)
    const [script, ...args] = process.argv.slice(2)
    if (script !== undefined) becomeNode(resolve(root, script), args)
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}
