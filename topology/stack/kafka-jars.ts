import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PortError } from '../ports/errors.ts'
import { identityOf } from './identity.ts'
import { withLock } from './lock.ts'
import { versionOf } from './server-process.ts'

/** The version of Kafka that is started unless another is asked for. */
export const DEFAULT_KAFKA_VERSION = '4.4.0'

const SUMS = join(import.meta.dirname, 'kafka-jars')
const SCALA = '2.13'
const DEPENDENCY_PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
const LOGGING = { group: 'org.slf4j', artifact: 'slf4j-simple', version: '1.7.36' }
const FETCH_MS = 600_000
const PROGRESS_INTERVAL_MS = 5_000
const OUTPUT_TAIL_CHARACTERS = 4_000

/** SHA-256 in hexadecimal by file name. */
type Sums = Readonly<Record<string, string>>

/** The versions of Kafka whose jars are known by their checksums. */
export function kafkaVersions(): readonly string[] {
  return readdirSync(SUMS)
    .filter(file => file.endsWith('.json'))
    .map(file => file.slice(0, -'.json'.length))
    .sort()
}

function sumsOf(version: string): Sums {
  const file = join(SUMS, `${version}.json`)
  if (!existsSync(file)) {
    throw new PortError(
      'SERVER_UNAVAILABLE',
      `Kafka ${version} is not among the versions whose jars are checked: ${kafkaVersions().join(', ')}`,
    )
  }
  return JSON.parse(readFileSync(file, 'utf8')) as Sums
}

function sumOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

/** Which jars of `folder` are not as they should be: absent, other bytes, or not asked for. */
function wrongJars(folder: string, sums: Sums): readonly string[] {
  const present = existsSync(folder) ? readdirSync(folder) : []
  const strangers = present.filter(name => sums[name] === undefined)
  const wrong = Object.keys(sums).filter(name => !present.includes(name) || sumOf(join(folder, name)) !== sums[name])
  return [...wrong, ...strangers]
}

/** Where a version's jars lie. */
export function kafkaJarFolder(cache: string, version: string): string {
  return join(cache, `kafka-${version}`)
}

/** Why the jars cannot be fetched here, with the remedy, or null. */
export function mavenProblem(): string | null {
  return versionOf('mvn', ['-v']) === null
    ? 'mvn is not on the PATH, and it fetches the jars of Kafka; install Maven (Debian and Ubuntu: apt-get install maven)'
    : null
}

function projectFile(version: string): string {
  const dependency = (group: string, artifact: string, of: string): string =>
    `    <dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${of}</version></dependency>`
  return [
    '<project>',
    '  <modelVersion>4.0.0</modelVersion>',
    '  <groupId>headwater</groupId><artifactId>kafka-jars</artifactId><version>1</version>',
    '  <dependencies>',
    dependency('org.apache.kafka', `kafka_${SCALA}`, version),
    dependency(LOGGING.group, LOGGING.artifact, LOGGING.version),
    '  </dependencies>',
    '</project>',
    '',
  ].join('\n')
}

/** Fetches a version's jars with Maven into `place`/jars. */
async function fetchJars(place: string, version: string, onProgress: (line: string) => void): Promise<string> {
  const problem = mavenProblem()
  if (problem !== null) throw new PortError('SERVER_UNAVAILABLE', problem)
  rmSync(place, { recursive: true, force: true })
  const jars = join(place, 'jars')
  mkdirSync(jars, { recursive: true })
  writeFileSync(join(place, 'pom.xml'), projectFile(version))
  const args = ['-B', '-f', join(place, 'pom.xml'), DEPENDENCY_PLUGIN, `-DoutputDirectory=${jars}`]
  onProgress(`fetching the jars of Kafka ${version} (about 45 MB, once)`)
  const child = spawn('mvn', args, { cwd: place, stdio: ['ignore', 'pipe', 'pipe'], timeout: FETCH_MS })
  let output = ''
  let files = 0
  const take = (chunk: Buffer): void => {
    const text = chunk.toString()
    files += text.split('Downloaded from').length - 1
    output = `${output}${text}`.slice(-OUTPUT_TAIL_CHARACTERS)
  }
  child.stdout.on('data', take)
  child.stderr.on('data', take)
  let seconds = 0
  const timer = setInterval(() => {
    seconds += PROGRESS_INTERVAL_MS / 1_000
    onProgress(`  ${seconds} s: ${files} files downloaded`)
  }, PROGRESS_INTERVAL_MS)
  const code = await new Promise<number | null>(done => {
    child.once('error', () => done(null))
    child.once('close', done)
  })
  clearInterval(timer)
  if (code !== 0) {
    const remedy = 'check the network, or the mirrors in the settings of Maven'
    throw new PortError(
      'SERVER_UNAVAILABLE',
      `Maven could not fetch the jars of Kafka ${version}; ${remedy}:\n${output}`,
    )
  }
  return jars
}

/** A folder of this process beside the jars; what a killed process left of its own is removed. */
function fetchingFolder(cache: string, version: string): string {
  const prefix = `kafka-${version}.fetching-`
  for (const name of readdirSync(cache)) {
    if (name.startsWith(prefix) && identityOf(Number(name.slice(prefix.length))) === null) {
      rmSync(join(cache, name), { recursive: true, force: true })
    }
  }
  return join(cache, `${prefix}${process.pid}`)
}

/**
 * Makes sure that a version's jars lie in the cache, each with the bytes that its checksum in this repository promises;
 * what is absent or damaged is fetched again. Safe beside other processes that do the same.
 * @param cache folder for jars of all versions
 * @param onProgress told a line at a time, and only when something is fetched
 * @returns the folder of the jars
 * @throws PortError SERVER_UNAVAILABLE when they cannot be had, SERVER_FAILED when what was fetched has other bytes
 */
export async function ensureKafkaJars(
  cache: string,
  version: string,
  onProgress: (line: string) => void = () => {},
): Promise<string> {
  const sums = sumsOf(version)
  const folder = kafkaJarFolder(cache, version)
  if (wrongJars(folder, sums).length === 0) return folder
  await withLock(join(cache, `kafka-${version}.lock`), FETCH_MS, async () => {
    const wrong = wrongJars(folder, sums)
    if (wrong.length === 0) return
    if (existsSync(folder)) onProgress(`${folder} is damaged (${wrong.slice(0, 3).join(', ')})`)
    const place = fetchingFolder(cache, version)
    const jars = await fetchJars(place, version, onProgress)
    const refused = wrongJars(jars, sums)
    if (refused.length > 0) {
      rmSync(place, { recursive: true, force: true })
      throw new PortError(
        'SERVER_FAILED',
        `these jars of Kafka ${version} are not the ones that are known, and are not used: ${refused.join(', ')}; ` +
          'remove them from the local Maven repository and try again, or look at what the mirror hands out',
      )
    }
    rmSync(folder, { recursive: true, force: true })
    renameSync(jars, folder)
    rmSync(place, { recursive: true, force: true })
  })
  return folder
}

/**
 * Fetches a version's jars and writes their checksums among the known ones: how a version is added, once somebody has
 * compared them with what the project's own release says.
 * @returns the file that was written
 */
export async function recordKafkaJars(
  cache: string,
  version: string,
  onProgress: (line: string) => void,
): Promise<string> {
  mkdirSync(cache, { recursive: true })
  const place = fetchingFolder(cache, version)
  const jars = await fetchJars(place, version, onProgress)
  const sums = Object.fromEntries(
    readdirSync(jars)
      .sort()
      .map(name => [name, sumOf(join(jars, name))]),
  )
  rmSync(place, { recursive: true, force: true })
  const file = join(SUMS, `${version}.json`)
  writeFileSync(file, `${JSON.stringify(sums, null, 2)}\n`)
  return file
}
