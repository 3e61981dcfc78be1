/** What keeps an engine of tf from starting, for people: tf itself says no more than that it failed. */
export interface EngineNeeds {
  readonly expected: string;
  readonly got: string;
  readonly fix: string;
}

/** What is used of WebGPU. */
interface Gpu {
  requestAdapter(): Promise<object | null>;
}

const another = "or use another engine, such as 'wasm' or 'cpu'";

/** What the engine needs, and has not; undefined where that is not known. Called when it did not start. */
export async function needsOf(name: string): Promise<EngineNeeds | undefined> {
  if (name === 'webgpu') {
    return {
      expected: 'a GPU with WebGPU',
      got: await whatGpu(),
      fix: `Install a driver for the GPU (Vulkan, Metal or D3D12; a browser may want WebGPU switched on), ${another}`,
    };
  }
  if (name === 'webgl') {
    return {
      expected: 'a canvas with WebGL',
      got: 'document' in globalThis ? 'no context of WebGL' : 'no document: this is no browser',
      fix: `Switch hardware acceleration on in the browser, ${another}`,
    };
  }
  if (name === 'wasm') {
    return {
      expected: "the engine's .wasm files where it looks for them",
      got: 'files that could not be loaded',
      fix: "Serve the .wasm files of @tensorflow/tfjs-backend-wasm, and say where with its setWasmPaths, or use 'cpu'",
    };
  }
  return undefined;
}

async function whatGpu(): Promise<string> {
  const { navigator } = globalThis as { readonly navigator?: { readonly gpu?: Gpu } };
  if (navigator?.gpu === undefined) return 'no navigator.gpu';
  try {
    return (await navigator.gpu.requestAdapter()) === null
      ? 'no adapter: WebGPU finds no GPU'
      : 'an adapter on which tf does not start';
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return `no adapter: ${message.split('\n', 1)[0]}`;
  }
}
