/**
 * The part of the ONNX Runtime JavaScript API that is used here, spelled out so that `onnxruntime-node`,
 * `onnxruntime-web` and later versions of either fit without a type dependency on one of them.
 */
export interface OrtTensor {
  readonly type: string;
  readonly dims: readonly number[];
  /** Where the values are: 'cpu', or a device location such as 'gpu-buffer'. */
  readonly location: string;
  /** Throws unless `location` is 'cpu'. */
  readonly data: unknown;
  getData(releaseData?: boolean): Promise<unknown>;
  /** The same values under other dims. */
  reshape(dims: readonly number[]): OrtTensor;
  dispose(): void;
}

export type OrtArray = Float32Array | Uint16Array | Int32Array | Uint32Array | Uint8Array | BigInt64Array;

export interface OrtSession {
  run(
    feeds: { readonly [name: string]: OrtTensor },
    fetches: readonly string[],
  ): Promise<{ readonly [name: string]: OrtTensor }>;
  release(): Promise<void>;
}

export interface OrtModule {
  readonly Tensor: new (type: string, data: OrtArray, dims: readonly number[]) => OrtTensor;
  readonly InferenceSession: {
    create(model: Uint8Array, options?: { readonly [option: string]: unknown }): Promise<OrtSession>;
  };
  readonly env?: { readonly versions?: { readonly [name: string]: string | undefined } };
  /** Only in onnxruntime-node. */
  listSupportedBackends?(): readonly { readonly name: string; readonly bundled: boolean }[];
}
