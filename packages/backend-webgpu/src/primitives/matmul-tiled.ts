import type { Stream } from '../runtime/stream.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { halfOf } from '../wgsl/numbers.js';
import { divide, tilesOf } from './matmul-cost.js';
import {
  biasInFours,
  epilogueBuffers,
  epilogueParts,
  epilogueSpans,
  NO_EPILOGUE,
} from './matmul-epilogue.js';
import { sumsBuffer, sumsKey } from './matmul-operand-sums.js';
import { formKey, inFours, inputType, outputType } from './matmul-operands.js';
import { recordInParts } from './matmul-parts.js';
import { type Product, productUniforms, uniformsOf } from './matmul-product.js';
import { hasWholeTiles, invocationsOf, type MatmulTile, tileStart } from './matmul-tile.js';
import {
  storeSums,
  type TiledParameters,
  tiledFunctions,
  tiledSums,
  tileMemory,
} from './matmul-tiled-text.js';

/**
 * Register-tiled product. Each operand tile goes through workgroup memory once, stored by terms; elements beyond the
 * edges count as 0 and are not written. Reads a columns / tile.columns times and b rows / tile.rows times; workgroup
 * memory 4 * depth * (rows + columns) bytes.
 */
function kernelOf(parameters: TiledParameters) {
  const { tile, half, halfOut, vecA, vecB, vecOut, whole, epilogue, sums } = parameters;
  const name = `${tile.rows}x${tile.columns}x${tile.depth}/${tile.microRows}x${tile.microColumns}${whole ? ' whole' : ''}`;
  return defineKernel({
    key: `matmul tiled ${name} ${formKey(parameters)}${sumsKey(sums)}`,
    uniforms: productUniforms,
    buffers: {
      a: readFrom(inputType(half, vecA)),
      b: readFrom(inputType(half, vecB)),
      out: writeTo(outputType(halfOut, vecOut)),
      ...epilogueBuffers(epilogue, vecOut, halfOut),
      operand_sums_out: sumsBuffer(sums),
    },
    workgroup: invocationsOf(tile),
    source: () => sourceOf(parameters),
  });
}

function sourceOf(parameters: TiledParameters): string {
  const { tile, halfOut } = parameters;
  return `${tileMemory(tile)}
${halfOut ? halfOf : ''}
${tiledFunctions(parameters)}

${tileStart(tile)}
  ${tiledSums(parameters)}
  let out_start = params.out_base + (part * params.batch + matrix) * params.out_batch;
  ${storeSums(parameters)}
}`;
}

/**
 * Records the product. Where tiles are few and sums long, parts of the sums are computed separately and added in
 * order. `out` of f16 must have been cleared.
 */
export function launchTiled(stream: Stream, product: Product, tile: MatmulTile): void {
  const { rows, inner, columns, transposeA, transposeB, a, b } = product;
  const tiles = tilesOf(tile, product);
  const half = product.dtype === 'f16';
  const vecA = inFours(a, transposeA ? rows : inner);
  const vecB = inFours(b, transposeB ? inner : columns);
  const isWhole = vecA && vecB && hasWholeTiles(tile, product);
  recordInParts(stream, product, divide(tile, product).parts, tile.depth, ({ out, sums, parts, terms }) => {
    const kernel = kernelOf({
      tile,
      half,
      halfOut: half && parts === 1,
      transposeA,
      transposeB,
      vecA,
      vecB,
      vecOut: inFours(out, columns) && biasInFours(product.epilogue),
      adds: parts === 1 && (product.adds ?? false),
      whole: isWhole,
      safe: product.safeFactor !== undefined,
      epilogue: parts === 1 ? epilogueParts(product.epilogue) : NO_EPILOGUE,
      sums: product.sums?.of,
    });
    kernel.launch(stream, {
      uniforms: uniformsOf({ ...product, out }, terms),
      buffers: { a, b, out, ...epilogueSpans(product.epilogue, parts === 1), operand_sums_out: sums },
      workgroups: tiles * parts,
    });
  });
}
