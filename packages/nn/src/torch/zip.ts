import type { ByteSource } from '../files/byte-source.js';
import { corrupt, truncated, unsupported } from './faults.js';

/** A file within an archive that is stored as it is. */
export interface Entry {
  readonly begin: number;
  readonly size: number;
}

/** Behind the end of central directory there may be a comment of up to 65,535 bytes. */
const END_BYTES = 22;
const END_REACH = END_BYTES + 65_535;
const LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;

/** Enough for a hundred thousand tensors. */
const MAX_DIRECTORY_BYTES = 64 * 2 ** 20;

/**
 * The entries of a zip archive by name. Only what torch.save writes: entries that are stored, one after the other; so an
 * archive never holds more than its own size.
 *
 * @throws TopKError FILE_CORRUPT, FILE_TRUNCATED, UNSUPPORTED
 */
export async function readZip(source: ByteSource): Promise<ReadonlyMap<string, Entry>> {
  const { offset, size, count } = await findDirectory(source);
  const bytes = await source.read(offset, size);
  const view = viewOf(bytes);
  const found: { name: string; size: number; header: number }[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (at + CENTRAL_BYTES > bytes.length || view.getUint32(at, true) !== 0x02014b50) {
      throw corrupt(source.name, 'the directory of the archive is broken', `${count} entries`, `${index}`);
    }
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((place) =>
      view.getUint16(at + place, true),
    ) as [number, number, number];
    const next = at + CENTRAL_BYTES + nameLength + extraLength + commentLength;
    if (next > bytes.length)
      throw corrupt(source.name, 'the directory of the archive is broken', 'whole entries', 'a cut one');
    const name = new TextDecoder().decode(
      bytes.subarray(at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameLength),
    );
    const extra = bytes.subarray(at + CENTRAL_BYTES + nameLength, next - commentLength);
    const [entrySize, packed, header] = wideNumbers(extra, [
      view.getUint32(at + 24, true),
      view.getUint32(at + 20, true),
      view.getUint32(at + 42, true),
    ]);
    const isPlain = view.getUint16(at + 10, true) === 0 && (view.getUint16(at + 8, true) & 1) === 0;
    if (!isPlain || entrySize !== packed) {
      throw unsupported(
        source.name,
        'the archive is compressed or encrypted',
        JSON.stringify(name.slice(0, 80)),
      );
    }
    found.push({ name, size: entrySize, header });
    at = next;
  }
  found.sort((a, b) => a.header - b.header);
  const entries = new Map<string, Entry>();
  for (const [index, entry] of found.entries()) {
    const limit = found[index + 1]?.header ?? offset;
    if (entries.has(entry.name))
      throw corrupt(source.name, 'the archive holds a name twice', 'one entry', entry.name);
    entries.set(entry.name, await locate(source, entry, limit));
  }
  return entries;
}

/** Where the content of an entry lies: behind its own header, before the next entry. */
async function locate(
  source: ByteSource,
  { name, size, header }: { readonly name: string; readonly size: number; readonly header: number },
  limit: number,
): Promise<Entry> {
  const local = header + LOCAL_BYTES <= limit ? await source.read(header, LOCAL_BYTES) : new Uint8Array(0);
  if (local.length === LOCAL_BYTES) {
    const view = viewOf(local);
    const begin = header + LOCAL_BYTES + view.getUint16(26, true) + view.getUint16(28, true);
    if (view.getUint32(0, true) === 0x04034b50 && begin + size <= limit) return { begin, size };
  }
  throw corrupt(
    source.name,
    'an entry of the archive is not where it should be',
    `${size} bytes before byte ${limit}`,
    JSON.stringify(name.slice(0, 80)),
  );
}

/** Place and size of the central directory. */
async function findDirectory(
  source: ByteSource,
): Promise<{ readonly offset: number; readonly size: number; readonly count: number }> {
  const start = Math.max(0, source.size - END_REACH);
  const tail = await source.read(start, source.size - start);
  const view = viewOf(tail);
  let at = tail.length - END_BYTES;
  while (
    at >= 0 &&
    !(
      view.getUint32(at, true) === 0x06054b50 &&
      at + END_BYTES + view.getUint16(at + 20, true) === tail.length
    )
  )
    at--;
  if (at < 0) {
    throw truncated(
      source.name,
      'the archive has no end',
      'its directory, which comes last',
      `${source.size} bytes without it`,
    );
  }
  let count = view.getUint16(at + 10, true);
  let size = view.getUint32(at + 12, true);
  let offset = view.getUint32(at + 16, true);
  let limit = start + at;
  if (at >= LOCATOR_BYTES && view.getUint32(at - LOCATOR_BYTES, true) === 0x07064b50) {
    const end = await source.read(wide(view, at - LOCATOR_BYTES + 8), END64_BYTES);
    const end64 = viewOf(end);
    if (end.length < END64_BYTES || end64.getUint32(0, true) !== 0x06064b50) {
      throw corrupt(
        source.name,
        'the directory of the archive is broken',
        'its 64-bit end',
        'something else',
      );
    }
    [count, size, offset] = [wide(end64, 32), wide(end64, 40), wide(end64, 48)];
    limit -= LOCATOR_BYTES + END64_BYTES;
  }
  if (offset + size > limit || size > MAX_DIRECTORY_BYTES || count * CENTRAL_BYTES > size) {
    throw corrupt(
      source.name,
      'the directory of the archive is not where it should be',
      `it before byte ${limit}`,
      `${size} bytes at ${offset}`,
    );
  }
  return { offset, size, count };
}

/** The numbers of an entry, from its 64-bit extra field where 32 bits were not enough. */
function wideNumbers(
  extra: Uint8Array,
  numbers: readonly [number, number, number],
): [number, number, number] {
  const view = viewOf(extra);
  const result: [number, number, number] = [...numbers];
  for (let at = 0; at + 4 <= extra.length; ) {
    const [id, length] = [view.getUint16(at, true), view.getUint16(at + 2, true)];
    at += 4;
    if (id === 1) {
      let from = at;
      for (const [index, number] of numbers.entries()) {
        if (number !== 0xffffffff || from + 8 > Math.min(at + length, extra.length)) continue;
        result[index] = wide(view, from);
        from += 8;
      }
    }
    at += length;
  }
  return result;
}

/** A 64-bit number; those beyond 2 ** 53 are rounded and fail every check of a place. */
function wide(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
