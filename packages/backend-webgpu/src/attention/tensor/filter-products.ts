import { range, subgroupDirectives } from '../../wgsl/text.js';
import { storeOne, storeProducts } from './score-tile.js';

/** The fields of the filter's variant that its products depend on. */
interface ProductVariant {
  readonly headDim: number;
  readonly emulated?: boolean;
}

/** Directives of a shader with subgroup matrices. */
export const matrixDirectives: readonly string[] = [
  'enable f16',
  'enable chromium_experimental_subgroup_matrix',
  ...subgroupDirectives,
  'diagnostic(off, chromium.subgroup_matrix_uniformity)',
];

/** Their types. */
export const matrixTypes = `alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;`;

/** The queries of the subgroup, loaded once. */
export function loadQueries({ headDim, emulated = false }: ProductVariant): string {
  if (emulated) return '';
  return range(headDim / 16)
    .flatMap((i) =>
      [0, 1].map((m) => {
        const at = `first_row * ${headDim}u + ${16 * m * headDim + 16 * i}u`;
        return `let a${m}_${i} = subgroupMatrixLoad<Left, row_major>(&queries, ${at}, ${headDim}u);`;
      }),
    )
    .join('\n  ');
}

/** Computes the scores of `tile0`, then of `tile1`, and lets `consume` read them in workgroup memory. */
export function twoTiles(variant: ProductVariant, consume: (j: number) => string): string {
  const products = variant.emulated ? emulatedProducts : matrixProducts;
  return [0, 1]
    .map(
      (j) => `{
          let tile_at = keys_at + tile${j} * ${16 * variant.headDim}u;
          ${products(variant.headDim)}
        }
        workgroupBarrier();
        ${consume(j)}
        workgroupBarrier();`,
    )
    .join('\n        ');
}

function matrixProducts(headDim: number): string {
  const chunks = range(headDim / 16);
  return `${chunks.map((i) => `let b${i} = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + ${256 * i}u, 16u);`).join('\n          ')}
          ${chunks
            .flatMap((i) =>
              [0, 1].map((m) =>
                i === 0
                  ? `var s${m} = subgroupMatrixMultiply<f32>(a${m}_0, b0);`
                  : `s${m} = subgroupMatrixMultiplyAccumulate(a${m}_${i}, b${i}, s${m});`,
              ),
            )
            .join('\n          ')}
          ${[0, 1].map(storeProducts).join('\n          ')}`;
}

function emulatedProducts(headDim: number): string {
  return `for (var c = 0u; c < 16u; c++) {
            var sum = 0.0;
            for (var d = 0u; d < ${headDim}u; d += 2u) {
              let of_query = unpack2x16float(queries[(row * ${headDim}u + d) / 2u]);
              let of_key = unpack2x16float(keys[(tile_at + (d / 16u) * 256u + c * 16u + d % 16u) / 2u]);
              sum += dot(of_query, of_key);
            }
            ${storeOne('c', 'sum')}
          }`;
}
