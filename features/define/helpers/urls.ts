/** What a text has of URLs. They are ASCII, so characters, code points and UTF-16 units are the same number. */
export interface UrlTally {
  readonly urls: number
  readonly characters: number
}

/**
 * Endings with which a bare domain is taken for a URL wherever it stands: the great generic ones, country codes that
 * are no common word of English, and those that spam prefers.
 */
const ENDINGS: ReadonlySet<string> = new Set(
  (
    'com net org info biz edu gov int mobi name app dev io co ai ly gg cc ws tv xyz top online site website store ' +
    'shop club live icu vip click link work space fun buzz rest bond cyou sbs cfd quest monster lol gq tk ml cf ga ' +
    'ru su cn de uk eu fr nl br jp pl ua kr ca au nz za mx es pt se ch cz sk hu ro bg tr gr dk fi ie ae sg hk tw vn'
  ).split(' '),
)

const LETTER = 1
const DIGIT = 2
const HYPHEN = 4
const DOT = 8
const URL_ONLY = 16
const HOST = LETTER | DIGIT | HYPHEN | DOT

/** By ASCII code: what may stand in a host name or URL (RFC 3986, section 2); 0 for everything else. */
const CLASSES: Uint8Array = (() => {
  const classes = new Uint8Array(128)
  const put = (characters: string, kind: number): void => {
    for (const character of characters) classes[character.charCodeAt(0)] = kind
  }
  put('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ', LETTER)
  put('0123456789', DIGIT)
  put('-', HYPHEN)
  put('.', DOT)
  put("_~:/?#[]@!$&'()*+,;=%", URL_ONLY)
  return classes
})()

function classAt(text: string, at: number): number {
  return CLASSES[text.charCodeAt(at)] ?? 0
}

function isAlphanumeric(text: string, at: number): boolean {
  return (classAt(text, at) & (LETTER | DIGIT)) !== 0
}

/**
 * Counts the URLs of a text and their characters, in time linear in its length. See `urlCount` for what a URL is.
 */
export function tallyUrls(text: string): UrlTally {
  let urls = 0
  let characters = 0
  let at = 0
  while (at < text.length) {
    if ((classAt(text, at) & HOST) === 0) {
      at++
      continue
    }
    let end = at + 1
    while (end < text.length && (classAt(text, end) & HOST) !== 0) end++
    const found = urlOf(text, at, end)
    if (found === null) at = end
    else {
      urls++
      characters += found.end - found.start
      at = found.end
    }
  }
  return { urls, characters }
}

/** The URL that starts in a whole run of host characters, `start` to `end`, if there is one. */
function urlOf(text: string, start: number, end: number): { readonly start: number; readonly end: number } | null {
  const scheme = schemeStart(text, start, end)
  if (scheme >= 0 && isAlphanumeric(text, end + 3)) return { start: scheme, end: urlEnd(text, end + 3) }
  if (text[start - 1] === '@' || text[end] === '@') return null
  let from = start
  while (from < end && !isAlphanumeric(text, from)) from++
  let to = end
  while (to > from && !isAlphanumeric(text, to - 1)) to--
  const isWww = from + 4 < to && lower(text, from, from + 4) === 'www.' && isAlphanumeric(text, from + 4)
  if (!isWww && !isDomain(text, from, to)) return null
  return { start: from, end: to === end && continuesAt(text, end) ? urlEnd(text, end) : to }
}

/** Whether a host name goes on here: with a port, a path, a query or a fragment. */
function continuesAt(text: string, at: number): boolean {
  const next = text[at] ?? ''
  return next === ':' ? (classAt(text, at + 1) & DIGIT) !== 0 : next !== '' && '/?#'.includes(next)
}

/** Where `http` or `https` starts when the run ends with it as a word of its own and `://` follows; −1 otherwise. */
function schemeStart(text: string, start: number, end: number): number {
  if (!text.startsWith('://', end)) return -1
  for (const scheme of ['https', 'http']) {
    const from = end - scheme.length
    if (from >= start && lower(text, from, end) === scheme && !(from > start && isAlphanumeric(text, from - 1))) {
      return from
    }
  }
  return -1
}

/** Whether `from` to `to`, which begins and ends with a letter or digit, is a host name that is a URL by its ending. */
function isDomain(text: string, from: number, to: number): boolean {
  let ending = to
  while (ending > from && (classAt(text, ending - 1) & LETTER) !== 0) ending--
  if (ending === from || text[ending - 1] !== '.' || to - ending > 10) return false
  if (!isAlphanumeric(text, ending - 2)) return false
  const letters = to - ending
  return ENDINGS.has(lower(text, ending, to)) || (letters === 2 && text[to] === '/' && isAlphanumeric(text, to + 1))
}

const TRAILING = '.,;:!?\'"*'
const CLOSING: Readonly<Record<string, string>> = { ')': '(', ']': '[' }

/**
 * The end of a URL from somewhere inside it: before the first character that URLs have not, and before punctuation
 * that closes the sentence around it, closing brackets without an opening one of theirs included.
 */
function urlEnd(text: string, inside: number): number {
  let end = inside
  const open: Record<string, number> = { '(': 0, '[': 0 }
  for (; end < text.length && classAt(text, end) !== 0; end++) {
    const character = text[end] ?? ''
    if (character in open) open[character] = (open[character] ?? 0) + 1
    const opening = CLOSING[character]
    if (opening !== undefined) open[opening] = (open[opening] ?? 0) - 1
  }
  for (; end > inside; end--) {
    const last = text[end - 1] ?? ''
    if (TRAILING.includes(last)) continue
    const opening = CLOSING[last]
    if (opening === undefined || (open[opening] ?? 0) >= 0) break
    open[opening] = (open[opening] ?? 0) + 1
  }
  return end
}

/** A short part of the text in lower case. */
function lower(text: string, from: number, to: number): string {
  return text.slice(from, to).toLowerCase()
}
