import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { kernelFamily, read, write } from '../../../wgsl/define-kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import type { SortGeometry } from '../layout/groups.js';
import { exclusiveScan } from './scan.js';
import type { TileVariant } from './tiles.js';

/** Counts in flight at a time: a tile whose keys are kept by every query has very many blocks. */
const AHEAD = 16;

function eachAhead(body: (ahead: number) => string, join: string): string {
  return Array.from({ length: AHEAD }, (_, a) => body(a)).join(join);
}

/**
 * For one tile (one workgroup each): where the entries of every key begin in the sorted list and how many there are.
 * Also turns every block's count of a key into the place of its first entry of that key, and clears the keys of pieces, which
 * the next kernel writes: a command of its own would end the pass. Reads the counts twice, writes them once. Workgroup memory: up to 1 KiB.
 */
const scanKeysKernel = kernelFamily('attention-backward scan-keys', ({ keysPerTileLog2 }: TileVariant) => {
  const keys = 2 ** keysPerTileLog2;
  const invocations = Math.min(256, keys);
  const each = keys / invocations;
  return {
    uniforms: {
      ...{ tiles: 'u32', all_tiles: 'u32', entry_blocks: 'u32', block_entries: 'u32', keys: 'u32' },
      piece_words: 'u32',
    },
    buffers: { info: read('vec4u'), counts: write('u32'), ranges: write('vec2u'), piece_keys: write('u32') },
    workgroup: invocations,
    source: () => `
${groupIndex}
${exclusiveScan(invocations)}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let place = group_index(group, groups);
  if (place >= params.all_tiles) { return; }
  for (var word = place * INVOCATIONS + t; word < params.piece_words; word += params.all_tiles * INVOCATIONS) {
    piece_keys[word] = 0u;
  }
  let unit = place / params.tiles;
  let tile = info[place];
  let first = unit * params.entry_blocks + tile.x;
  let end = first + (tile.y + params.block_entries - 1u) / params.block_entries;
  let own = t * ${each}u;
  var sums: array<u32, ${each}>;
  var total = 0u;
  for (var i = 0u; i < ${each}u; i++) {
    var sum = 0u;
    var block = first;
    for (; block + ${AHEAD}u <= end; block += ${AHEAD}u) { sum += ${eachAhead((a) => `counts[(block + ${a}u) * ${keys}u + own + i]`, ' + ')}; }
    for (; block < end; block++) { sum += counts[block * ${keys}u + own + i]; }
    sums[i] = sum;
    total += sum;
  }
  var at = tile.z + scanned(total, t);
  for (var i = 0u; i < ${each}u; i++) {
    let key = (place % params.tiles) * ${keys}u + own + i;
    if (key < params.keys) { ranges[unit * params.keys + key] = vec2u(at, sums[i]); }
    var block = first;
    for (; block + ${AHEAD}u <= end; block += ${AHEAD}u) {
      ${eachAhead((a) => `let count${a} = counts[(block + ${a}u) * ${keys}u + own + i];`, ' ')}
      ${eachAhead((a) => `counts[(block + ${a}u) * ${keys}u + own + i] = at; at += count${a};`, ' ')}
    }
    for (; block < end; block++) {
      let count = counts[block * ${keys}u + own + i];
      counts[block * ${keys}u + own + i] = at;
      at += count;
    }
  }
}`,
  };
});

export function recordScanKeys(
  stream: Stream,
  { keysPerTileLog2, units, tiles, keys, blockEntries, entryBlocks }: SortGeometry,
  pieces: number,
  buffers: Readonly<Record<'info' | 'counts' | 'ranges' | 'piece_keys', Span>>,
): void {
  scanKeysKernel({ keysPerTileLog2 }).launch(stream, {
    uniforms: {
      ...{ tiles, all_tiles: units * tiles, keys },
      ...{ entry_blocks: entryBlocks, block_entries: blockEntries },
      piece_words: 2 * pieces,
    },
    buffers,
    workgroups: units * tiles,
  });
}
