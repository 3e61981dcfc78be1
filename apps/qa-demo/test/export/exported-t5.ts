import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';

/** The parts of onnxruntime-node and onnxruntime-web that are used. */
export interface Ort {
  readonly InferenceSession: {
    create(model: Uint8Array, options?: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  readonly Tensor: typeof OrtTensor;
}

type Rows = readonly (readonly number[])[];

/** What the exported configuration says that running the files takes. */
interface Settings {
  readonly num_heads: number;
  readonly d_kv: number;
  readonly num_decoder_layers: number;
  readonly decoder_start_token_id: number;
  readonly eos_token_id: number;
}

/** An exported T5 run by its files alone, as a program without this project would. */
export class ExportedT5 {
  readonly #ort: Ort;
  readonly #encoder: InferenceSession;
  readonly #decoder: InferenceSession;
  readonly #settings: Settings;

  private constructor(ort: Ort, encoder: InferenceSession, decoder: InferenceSession, settings: Settings) {
    this.#ort = ort;
    this.#encoder = encoder;
    this.#decoder = decoder;
    this.#settings = settings;
  }

  /** @param files Those of one dtype. */
  static async open(ort: Ort, files: { readonly [path: string]: Uint8Array }): Promise<ExportedT5> {
    const open = (name: string): Promise<InferenceSession> => {
      const own = Object.entries(files).filter(([path]) => path.startsWith(`onnx/${name}`));
      const [model, ...weights] = own.map(([path, data]) => ({ path: path.slice('onnx/'.length), data }));
      return ort.InferenceSession.create(model?.data as Uint8Array, {
        ...{ logSeverityLevel: 3, intraOpNumThreads: 1 },
        ...(weights.length > 0 && { externalData: weights }),
      });
    };
    const settings: Settings = JSON.parse(new TextDecoder().decode(files['config.json']));
    const encoder = await open('encoder_model');
    return new ExportedT5(ort, encoder, await open('decoder_model_merged'), settings);
  }

  async release(): Promise<void> {
    await this.#encoder.release();
    await this.#decoder.release();
  }

  ids(rows: Rows): OrtTensor {
    const data = BigInt64Array.from(rows.flat(), BigInt);
    return new this.#ort.Tensor('int64', data, [rows.length, rows[0]?.length ?? 0]);
  }

  async encode(sources: OrtTensor, mask: OrtTensor): Promise<OrtTensor> {
    const { last_hidden_state } = await this.#encoder.run({ input_ids: sources, attention_mask: mask });
    return last_hidden_state as OrtTensor;
  }

  /** Outputs of the decoder for tokens after those of a past. */
  async decode(
    targets: OrtTensor,
    encoded: OrtTensor,
    mask: OrtTensor,
    past?: { readonly [name: string]: OrtTensor },
  ): Promise<{ readonly [name: string]: OrtTensor }> {
    const { Tensor } = this.#ort;
    return this.#decoder.run({
      input_ids: targets,
      encoder_hidden_states: encoded,
      encoder_attention_mask: mask,
      use_cache_branch: new Tensor('bool', [past !== undefined], [1]),
      ...(past ?? this.#emptyPast(targets.dims[0] as number)),
    });
  }

  #emptyPast(batch: number): { readonly [name: string]: OrtTensor } {
    const { num_heads: heads, d_kv: width, num_decoder_layers: layers } = this.#settings;
    const dims = [batch, heads, 0, width];
    const names = [...Array(layers).keys()].flatMap((layer) =>
      ['decoder.key', 'decoder.value', 'encoder.key', 'encoder.value'].map(
        (part) => `past_key_values.${layer}.${part}`,
      ),
    );
    const types = new Map(
      this.#decoder.inputMetadata.map((input) => [input.name, 'type' in input && input.type]),
    );
    const empty = (name: string): OrtTensor =>
      types.get(name) === 'float16'
        ? new this.#ort.Tensor('float16', new Uint16Array(0), dims)
        : new this.#ort.Tensor('float32', new Float32Array(0), dims);
    return Object.fromEntries(names.map((name) => [name, empty(name)]));
  }

  /** The past for the next step, from the outputs of the last one. */
  static pastOf(outputs: { readonly [name: string]: OrtTensor }): { readonly [name: string]: OrtTensor } {
    return Object.fromEntries(
      Object.entries(outputs)
        .filter(([name]) => name.startsWith('present.'))
        .map(([name, value]) => [name.replace('present.', 'past_key_values.'), value]),
    );
  }

  /** Greedy decoding of one prompt, token by token: ids up to the end of sequence. */
  async generate(prompt: readonly number[], maxNewTokens: number): Promise<readonly number[]> {
    const { decoder_start_token_id: start, eos_token_id: end } = this.#settings;
    const mask = this.ids([prompt.map(() => 1)]);
    const encoded = await this.encode(this.ids([prompt]), mask);
    const ids: number[] = [];
    let past: { readonly [name: string]: OrtTensor } | undefined;
    while (ids.length < maxNewTokens && ids.at(-1) !== end) {
      const outputs = await this.decode(this.ids([[ids.at(-1) ?? start]]), encoded, mask, past);
      past = ExportedT5.pastOf(outputs);
      const logits = (outputs.logits as OrtTensor).data as Float32Array;
      ids.push(logits.reduce((best, logit, id) => (logit > (logits[best] as number) ? id : best), 0));
    }
    return ids;
  }
}
