/**
 * Rows that a graph lists, weighted and summed: the product with a sparse matrix per group, or with its transpose. See
 * `graphProduct` of the package mechanisms.
 */
export interface GraphProductRequest {
  /** G: groups, each with a graph and rows of its own. */
  readonly groups: number;
  /** Lq */
  readonly queries: number;
  /** Lk: what the graph numbers. */
  readonly keys: number;
  /** M: slots of a query. */
  readonly slots: number;
  /** D: columns of a row. */
  readonly width: number;
  /** Most numbers of a tensor that is made on the way; at least those of one group or query. Default 2^24. */
  readonly most?: number;
  readonly saves?: boolean;
}

export interface GraphProductInputs<T> {
  /** f32 [G, Lq, M]. Those of unused slots do not matter, whatever they hold. */
  readonly weights: T;
  /** i32 [G, Lq, M]: keys. A slot with -1, or any other number outside of the keys, is unused; a key may come twice. */
  readonly graph: T;
  /** f32: rows of keys [G, Lk, D], and for the transpose rows of queries [G, Lq, D]. */
  readonly rows: T;
}

export interface GraphProductOutputs<T> {
  /**
   * f32 [G, Lq, D]: for each query the sum over its slots of weights[g, q, m] rows[g, graph[g, q, m]]. Of the transpose
   * [G, Lk, D]: for each key the sum over the slots that name it of weights[g, q, m] rows[g, q].
   */
  readonly output: T;
}
