import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { compressFrameSync, decompressFrameSync } from 'lz4-napi'
import { compress as compressSnappy, uncompress as uncompressSnappy } from 'snappyjs'

/** How the records of a batch are packed. */
export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** Kafka's numbers for them, in the attributes of a batch. */
export const CODEC_IDS: Readonly<Record<Compression, number>> = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }

/** A batch is at most some megabytes; more than this, unpacked, is not a batch but an attack. */
const MAX_UNPACKED_BYTES = 256 * 1_048_576

/** snappy-java's framing, in which Kafka's Java client writes: a magic, two versions, blocks of a length and raw snappy. */
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_HEAD_BYTES = 16
const XERIAL_BLOCK_BYTES = 32 * 1024

/** Packs the records of a batch. */
export function pack(compression: Compression, bytes: Buffer): Buffer {
  switch (compression) {
    case 'none':
      return bytes
    case 'gzip':
      return gzipSync(bytes)
    case 'snappy':
      return packSnappy(bytes)
    case 'lz4':
      return compressFrameSync(bytes)
    case 'zstd':
      return zstdCompressSync(bytes)
  }
}

/** Unpacks the records of a batch by Kafka's codec number. Throws for bytes that are not what the number says. */
export function unpack(codec: number, bytes: Buffer): Buffer {
  switch (codec) {
    case CODEC_IDS.none:
      return bytes
    case CODEC_IDS.gzip:
      return gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED_BYTES })
    case CODEC_IDS.snappy:
      return unpackSnappy(bytes)
    case CODEC_IDS.lz4:
      return decompressFrameSync(bytes)
    case CODEC_IDS.zstd:
      return zstdDecompressSync(bytes, { maxOutputLength: MAX_UNPACKED_BYTES })
    default:
      throw new RangeError(`Codec ${codec} is not one of gzip, snappy, lz4 and zstd`)
  }
}

function packSnappy(bytes: Buffer): Buffer {
  const head = Buffer.alloc(XERIAL_HEAD_BYTES)
  XERIAL_MAGIC.copy(head)
  head.writeInt32BE(1, 8)
  head.writeInt32BE(1, 12)
  const parts: Uint8Array[] = [head]
  for (let at = 0; at < bytes.length; at += XERIAL_BLOCK_BYTES) {
    const block = compressSnappy(bytes.subarray(at, at + XERIAL_BLOCK_BYTES))
    const length = Buffer.alloc(4)
    length.writeInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

function unpackSnappy(bytes: Buffer): Buffer {
  if (!bytes.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) {
    return asBuffer(uncompressSnappy(bytes, MAX_UNPACKED_BYTES))
  }
  const parts: Uint8Array[] = []
  for (let at = XERIAL_HEAD_BYTES; at < bytes.length;) {
    const length = bytes.readInt32BE(at)
    parts.push(uncompressSnappy(bytes.subarray(at + 4, at + 4 + length), MAX_UNPACKED_BYTES))
    at += 4 + length
  }
  return Buffer.concat(parts)
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
