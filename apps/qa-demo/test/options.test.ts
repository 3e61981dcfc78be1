import * as tfCore from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import * as tfLayers from '@tensorflow/tfjs-layers';
import * as conformance from '@topk-attention/conformance';
import * as core from '@topk-attention/core';
import * as authors from '@topk-attention/core/backend';
import * as reference from '@topk-attention/core/reference';
import * as mechanisms from '@topk-attention/mechanisms';
import * as models from '@topk-attention/models';
import * as inspect from '@topk-attention/models/inspect';
import * as nn from '@topk-attention/nn';
import * as onnxruntime from '@topk-attention/onnxruntime';
import * as onnxExport from '@topk-attention/onnxruntime/export';
import * as rewrite from '@topk-attention/onnxruntime/rewrite';
import { smallEncoder, storiesModel } from '@topk-attention/t5-goldens';
import * as tfjs from '@topk-attention/tfjs';
import * as tfjsLayers from '@topk-attention/tfjs/layers';
import * as webgpu from '@topk-attention/webgpu';
import { afterAll, describe, expect, test } from 'vitest';

// Every function that users can call is listed here, with a call of it that has a misspelt option, or as one that takes none.
// A new export that is on neither list fails.

/** A call with these options more than it should have. */
type Call = (wrong: object) => unknown;

interface Exports {
  readonly of: object;
  readonly withOptions: Readonly<Record<string, Call>>;
  /** Functions and classes without options, by blanks. */
  readonly without: string;
}

/** Plain JavaScript: no call below has the right types. */
// biome-ignore lint/suspicious/noExplicitAny: calls with options that do not exist
type Untyped = Readonly<Record<string, any>>;
const untyped = (module: object): Untyped => module;

const backend = reference.createReferenceBackend();
const q = core.zeros(backend, [1, 1, 2, 2]);
const x = core.zeros(backend, [2, 2]);
const shapes = { q: q.shape, k: q.shape, v: q.shape };
const sizes = { tokens: 2, inputDim: 2, hidden: 2, outputDim: 2 };
const weights = { wIn: x, wOut: x };
const layer = { width: 2, heads: 1 };
const lists = authors.attentionForward(q, q, q, { k: 1 });
const { kept } = authors.feedForwardForward(x, weights, { k: 1 });
const limits = backend.capabilities.limits;
const attentionRequest = {
  ...{ batch: 1, queryHeads: 1, keyHeads: 1, queryLength: 2, keyLength: 2, headDim: 2, valueDim: 2 },
  ...{
    dtype: 'f32',
    k: 1,
    scale: 1,
    causal: false,
    keyLengths: false,
    saves: false,
  },
};
const feedForwardRequest = {
  ...{ ...sizes, dtype: 'f32', k: 1, activation: 'relu', gated: false, biasIn: false, biasOut: false },
  select: 'preactivation',
};

const ofCore = untyped(core);
const ofTfjs = untyped(tfjs);
const ofTfjsLayers = untyped(tfjsLayers);
const tf = { ...tfCore, ...tfLayers };
await tfCore.setBackend('cpu');
const program = core.elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ y: x }));
const tfQ = tfCore.zeros([1, 1, 2, 2]);
const tfX = tfCore.zeros([2, 2]);
const layers = tfjsLayers.topKLayers(tf as unknown as Parameters<typeof tfjsLayers.topKLayers>[0]);
const ofLayers = untyped(layers);
const model = await models.loadT5({ backend, source: new URL('../model/', import.meta.url) });
const ofModel = untyped(model);
const encoder = await models.loadEncoder({ backend, source: smallEncoder });
const ofEncoder = untyped(encoder);
const lm = await models.loadCausalLM({ backend, source: storiesModel });
const ofLm = untyped(lm);
const inspector = inspect.createInspector(model);
const ofInspector = untyped(inspector);
afterAll(async () => {
  model.dispose();
  encoder.dispose();
  lm.dispose();
  await backend.dispose();
});

const modules: Readonly<Record<string, Exports>> = {
  core: {
    of: core,
    withOptions: {
      topKAttention: (wrong) => ofCore.topKAttention(q, q, q, { k: 1, ...wrong }),
      exactAttention: (wrong) => ofCore.exactAttention(q, q, q, wrong),
      topKFeedForward: (wrong) => ofCore.topKFeedForward(x, weights, { k: 1, ...wrong }),
      explain: (wrong) => ofCore.explain(backend, shapes, { k: 1, ...wrong }),
      graphAttention: (wrong) =>
        ofCore.graphAttention(q, q, q, core.zeros(backend, [1, 1, 2, 1], 'i32'), wrong),
      linearAttention: (wrong) => ofCore.linearAttention(q, q, q, wrong),
      explainGraphAttention: (wrong) =>
        ofCore.explainGraphAttention(backend, { ...shapes, graph: [1, 1, 2, 1] }, wrong),
      explainLinearAttention: (wrong) =>
        ofCore.explainLinearAttention(
          backend,
          { queryFeatures: q.shape, keyFeatures: q.shape, value: q.shape },
          wrong,
        ),
      explainToeplitzProduct: (wrong) =>
        ofCore.explainToeplitzProduct(backend, { factors: [1, 3], x: q.shape }, wrong),
      explainFeedForward: (wrong) => ofCore.explainFeedForward(backend, sizes, { k: 1, ...wrong }),
      planAttention: (wrong) => ofCore.planAttention(attentionRequest, limits, wrong),
      planAttentionBackward: (wrong) => ofCore.planAttentionBackward(attentionRequest, limits, wrong),
      planFeedForward: (wrong) => ofCore.planFeedForward(feedForwardRequest, limits, wrong),
      planFeedForwardBackward: (wrong) => ofCore.planFeedForwardBackward(feedForwardRequest, limits, wrong),
      matmul: (wrong) => ofCore.matmul(x, x, wrong),
      linear: (wrong) => ofCore.linear(x, x, undefined, wrong),
      mapElements: (wrong) => ofCore.mapElements(program, { x }, undefined, wrong),
      mapElementsOfAll: (wrong) => ofCore.mapElementsOfAll(program, [{ x }], undefined, wrong),
      sum: (wrong) => ofCore.sum(x, wrong),
      mean: (wrong) => ofCore.mean(x, wrong),
      dropout: (wrong) => ofCore.dropout(x, { rate: 0.5, seed: 1, ...wrong }),
      crossEntropy: (wrong) => ofCore.crossEntropy(x, core.tensor(backend, [0, 1], [2], 'i32'), wrong),
      maxOver: (wrong) => ofCore.maxOver(x, wrong),
      recordedStep: (wrong) => ofCore.recordedStep((state: object) => ({ state, outputs: {} }), wrong),
      planStep: (wrong) =>
        ofCore.planStep(backend, (state: object) => ({ state, outputs: {} }), { x }, {}, wrong),
      relativePositionBucket: (wrong) =>
        ofCore.relativePositionBucket(-3, { bidirectional: true, buckets: 32, maxDistance: 128, ...wrong }),
    },
    without: `ProgramNumbers Tensor TopKError abs activate add arange broadcastTo bytesPerElement cast checkDType concat
      custom div dryBackend elementIsNaN elementwiseProgram eq erf evaluate exp fill formatBytes formatShape gatherRows gelu
      geluTanh grad isFloat layerNorm le log logicalAnd logicalNot lt max min mul narrow neg 
      printFeedForwardPlan printPlan pullback putAlong randomBits recompute relu requireGraph requireNoNaN reshape rmsNorm rsqrt 
      scatterAddRows scope sigmoid silu sizeOf slice softmax softmaxGradient sqrt sub sumSquares sumTo takeAlong tanh tensor toeplitzProduct
      topK transpose valueAndGrad where writeAt writeInto zeros
      aFunction aValue anArray checkedLater describeValue either nearest oneOf optionsWithin readOptions required`,
  },
  'core/backend': {
    of: authors,
    withOptions: {
      attentionForward: (wrong) => untyped(authors).attentionForward(q, q, q, { k: 1, ...wrong }),
      attentionBackward: (wrong) => untyped(authors).attentionBackward(q, q, q, { k: 1, ...wrong }, lists, q),
      feedForwardForward: (wrong) => untyped(authors).feedForwardForward(x, weights, { k: 1, ...wrong }),
      feedForwardBackward: (wrong) =>
        untyped(authors).feedForwardBackward(x, weights, { k: 1, ...wrong }, kept, x),
      relativePositionBucket: (wrong) =>
        untyped(authors).relativePositionBucket(-3, {
          ...{ bidirectional: true, buckets: 32, maxDistance: 128 },
          ...wrong,
        }),
    },
    without: `TopKError broadcastShapes bytesPerElement chooseAttention chooseFeedForward defineOperation describeSelection
      describeValue dropoutNumbers dropoutWords entmaxSteps entriesOf explainOperation formatShape fromBackendTensor fromRoles
      groupSize isEngineError isFloat mapRoles mayHideKeys mayMaskKeys noteSeed philox4x32 philoxBits philoxKey queryStartOf
      relativeBuckets requireTree runBackward runForward runOperation sameShape scalesExactly sizeOf stridesOf toEngineError valuesOf`,
  },
  'core/reference': {
    of: reference,
    withOptions: {
      createReferenceBackend: (wrong) => untyped(reference).createReferenceBackend(wrong),
    },
    without: `halfToNumber numberToHalf referenceAttention referenceAttentionBackward referenceGraphAttention
      referenceGraphAttentionBackward referenceLinearAttention referenceLinearAttentionBackward referenceFeedForward
      referenceFeedForwardBackward`,
  },
  conformance: {
    of: conformance,
    withOptions: {
      conformanceCases: (wrong) => untyped(conformance).conformanceCases(wrong),
      describeConformance: (wrong) =>
        untyped(conformance).describeConformance({ name: 'x', createBackend: () => backend, ...wrong }),
      runConformance: (wrong) =>
        untyped(conformance).runConformance({ name: 'x', createBackend: () => backend, ...wrong }, []),
      trainingCases: (wrong) =>
        untyped(conformance).trainingCases(
          { adafactor: nn.adafactor, adam: nn.adam, adamW: nn.adamW, sgd: nn.sgd },
          wrong,
        ),
    },
    without: 'ConformanceFailure sampleCases',
  },
  nn: {
    of: nn,
    withOptions: {
      KeyValueCache: (wrong) =>
        new (untyped(nn).KeyValueCache)(backend, { batch: 1, heads: 1, keyDim: 1, valueDim: 1, ...wrong }),
      loadParameters: (wrong) => untyped(nn).loadParameters(backend, { tensors: new Map() }, [], wrong),
      attentionLayer: (wrong) => untyped(nn).attentionLayer({ ...layer, ...wrong }),
      feedForwardLayer: (wrong) => untyped(nn).feedForwardLayer({ width: 2, hidden: 2, ...wrong }),
      encoderLayer: (wrong) => untyped(nn).encoderLayer({ ...layer, hidden: 2, ...wrong }),
      decoderLayer: (wrong) => untyped(nn).decoderLayer({ ...layer, hidden: 2, ...wrong }),
      encoderStack: (wrong) => untyped(nn).encoderStack({ ...layer, hidden: 2, layers: 1, ...wrong }),
      decoderStack: (wrong) => untyped(nn).decoderStack({ ...layer, hidden: 2, layers: 1, ...wrong }),
      classifierHead: (wrong) => untyped(nn).classifierHead({ width: 2, classes: 2, ...wrong }),
      linearLayer: (wrong) => untyped(nn).linearLayer(2, 2, wrong),
      embeddingLayer: (wrong) => untyped(nn).embeddingLayer(2, 2, wrong),
      normLayer: (wrong) => untyped(nn).normLayer(2, wrong),
      learnedPositions: (wrong) => untyped(nn).learnedPositions(2, 2, wrong),
      sinusoidalPositions: (wrong) => untyped(nn).sinusoidalPositions(2, wrong),
      rotary: (wrong) => untyped(nn).rotary(q, wrong),
      topK: (wrong) => untyped(nn).topK({ k: 1, ...wrong }),
      performer: (wrong) => untyped(nn).performer(wrong),
      loadStateDict: (wrong) => untyped(nn).loadStateDict(backend, { parameters: {} }, {}, wrong),
      adamW: (wrong) => untyped(nn).adamW(wrong),
      adam: (wrong) => untyped(nn).adam(wrong),
      sgd: (wrong) => untyped(nn).sgd(wrong),
      adafactor: (wrong) => untyped(nn).adafactor(wrong),
      clipGradNorm: (wrong) => untyped(nn).clipGradNorm({ x }, 1, wrong),
      clipScale: (wrong) => untyped(nn).clipScale({ x }, 1, wrong),
      averageParameters: (wrong) => untyped(nn).averageParameters(undefined, { x }, wrong),
      ...Object.fromEntries(
        [
          ...['constantSchedule', 'linearSchedule', 'cosineSchedule', 'cosineWithRestartsSchedule'],
          ...['polynomialSchedule', 'inverseSqrtSchedule', 'warmupStableDecaySchedule', 'oneCycleSchedule'],
          ...['rsqrtSchedule', 'constantLR', 'linearLR', 'cosineAnnealingLR', 'stepLR', 'multiStepLR'],
          'reduceOnPlateau',
        ].map((name): [string, Call] => [name, (wrong) => untyped(nn)[name](wrong)]),
      ),
      lossScale: (wrong) => untyped(nn).lossScale(wrong),
      dataLoader: (wrong) =>
        untyped(nn).dataLoader([1], { batchSize: 1, collate: (one: unknown) => one, ...wrong }),
      train: (wrong) =>
        untyped(nn).train({
          ...{
            parameters: { x },
            loss: () => x,
            data: { batches: () => x },
            optimizer: { update: () => x },
            maxSteps: 0,
          },
          ...wrong,
        }),
    },
    without: `attend binaryCrossEntropy bytesSource disposeParameters dropout embedding encodeSafetensors explainAttention explainFeedForwardLayer
      feedForward keptKeys keysAndValuesOf linear mergeHeads takeRows openFile openNeeded openOptional openSafetensors openShards openTorchFile queriesOf withheld
      readOptionalText readText recomputed beforeFeedForward residual rotated saveSafetensors seedsFrom splitHeads toFileSource toFloat32 clipGradValue exponentialLR
      folderStore loadCheckpoint noDecay saveCheckpoint sequentialLR
      StateDictError addLoss compareStateDict contextOf defineEncoderLayer defineLayer dropoutLayer exact initialize parameterOf redraw
      joinInProjections readStateDict splitInProjections splitParameters stateDict summary t5Initializers tiedLayer trainableExcept visibleKeys withLosses within meanSquaredError`,
  },
  "nn's initializers": {
    of: nn.initializers,
    withOptions: {
      kaimingUniform: (wrong) => untyped(nn.initializers).kaimingUniform(wrong),
      kaimingNormal: (wrong) => untyped(nn.initializers).kaimingNormal(wrong),
    },
    without:
      'constant lecunNormal normal ones orthogonal truncNormal uniform xavierNormal xavierUniform zeros',
  },
  mechanisms: {
    of: mechanisms,
    withOptions: {
      ...Object.fromEntries(
        [
          ...['simpleTron', 'sigmoidAttention', 'fastmax', 'rfa', 'trainableKernel', 'soft', 'sbm'],
          ...['sparsefinder', 'causalLuna', 'entmaxAttention'],
        ].map((name): [string, Call] => [name, (wrong) => untyped(mechanisms)[name](wrong)]),
      ),
      relativeKernel: (wrong) => untyped(mechanisms).relativeKernel({ length: 2, ...wrong }),
      sigmoidBlock: (wrong) => untyped(mechanisms).sigmoidBlock({ ...layer, hidden: 2, ...wrong }),
      lunaBlock: (wrong) => untyped(mechanisms).lunaBlock({ ...layer, hidden: 2, ...wrong }),
      lunaAttention: (wrong) => untyped(mechanisms).lunaAttention({ ...layer, ...wrong }),
      convLunaBlock: (wrong) => untyped(mechanisms).convLunaBlock({ ...layer, hidden: 2, ...wrong }),
      memoryEncoder: (wrong) =>
        untyped(mechanisms).memoryEncoder({ width: 2, memory: 1, blocks: [], ...wrong }),
      newtonInverse: (wrong) => untyped(mechanisms).newtonInverse(x, wrong),
      requireInverse: (wrong) => untyped(mechanisms).requireInverse(x, x, wrong),
      attentionFunctionOf: (wrong) =>
        untyped(mechanisms).attentionFunctionOf(nn.exact(), { trainedWith: 'softmax', ...wrong }),
    },
    without: 'entmax15 graphQuality',
  },
  models: {
    of: models,
    withOptions: {
      hub: (wrong) => untyped(models).hub('org/name', wrong),
      loadModel: (wrong) =>
        untyped(models).loadModel(new URL('../model/', import.meta.url), { backend, ...wrong }),
      loadT5: (wrong) => untyped(models).loadT5({ backend, source: 'nowhere', ...wrong }),
      loadT5Parameters: (wrong) => untyped(models).loadT5Parameters({ backend, source: 'nowhere', ...wrong }),
      createT5: (wrong) => untyped(models).createT5(model.config, model.parameters, wrong),
      t5Forward: (wrong) =>
        untyped(models).t5Forward(
          model.config,
          model.parameters,
          { sources: [[5, 1]], targets: [[0]] },
          wrong,
        ),
      t5Encode: (wrong) =>
        untyped(models).t5Encode(model.config, model.parameters, { sources: [[5, 1]] }, wrong),
      loadEncoder: (wrong) => untyped(models).loadEncoder({ backend, source: 'nowhere', ...wrong }),
      loadEncoderParameters: (wrong) =>
        untyped(models).loadEncoderParameters({ backend, source: 'nowhere', ...wrong }),
      createEncoder: (wrong) => untyped(models).createEncoder(encoder.config, encoder.parameters, wrong),
      encoderForward: (wrong) =>
        untyped(models).encoderForward(encoder.config, encoder.parameters, { sources: [[5, 1]] }, wrong),
      encoderLogits: (wrong) =>
        untyped(models).encoderLogits(encoder.config, encoder.parameters, { sources: [[5, 1]] }, wrong),
      parseEncoderConfig: (wrong) => untyped(models).parseEncoderConfig('{}', wrong),
      loadCausalLM: (wrong) => untyped(models).loadCausalLM({ backend, source: 'nowhere', ...wrong }),
      loadCausalLMParameters: (wrong) =>
        untyped(models).loadCausalLMParameters({ backend, source: 'nowhere', ...wrong }),
      createCausalLM: (wrong) => untyped(models).createCausalLM(lm.config, lm.parameters, wrong),
      causalLMForward: (wrong) =>
        untyped(models).causalLMForward(lm.config, lm.parameters, { tokens: [[1, 5]] }, wrong),
      createByteTokenizer: (wrong) => untyped(models).createByteTokenizer(wrong),
      formatUnifiedQA: (wrong) => untyped(models).formatUnifiedQA({ question: 'Where?', ...wrong }),
      suggestK: (wrong) => untyped(models).suggestK(model, ['where?'], { tolerance: 1, ...wrong }),
      kErrors: (wrong) => untyped(models).kErrors(model, ['where?'], { ks: [1], ...wrong }),
    },
    without:
      'causalLMParameterSpecs createTokenizer encoderParameterSpecs exactMatch f1Score normalizeAnswer parseCausalLMConfig parseT5Config scoreAnswer seedsFrom t5ParameterSpecs',
  },
  'models/inspect': {
    of: inspect,
    withOptions: { createInspector: (wrong) => untyped(inspect).createInspector(model, wrong) },
    without: 'formatValueName parseValueName',
  },
  'an inspector': {
    of: methodsOf(inspector),
    withOptions: {
      inspect: (wrong) => ofInspector.inspect('where?', wrong),
      compare: (wrong) => ofInspector.compare('where?', wrong),
      index: (wrong) => ofInspector.index(wrong),
      clusters: (wrong) => ofInspector.clusters({ count: 2, ...wrong }),
    },
    without: 'hooks valueVector',
  },
  'a decoder-only model': {
    of: methodsOf(lm),
    withOptions: {
      generate: (wrong) => ofLm.generate([1, 5], wrong),
      generateBatch: (wrong) => ofLm.generateBatch([[1, 5]], wrong),
      stream: (wrong) => ofLm.stream([1, 5], wrong).next(),
      logits: (wrong) => ofLm.logits([[1, 5]], wrong),
      explain: (wrong) => ofLm.explain({ length: 3, ...wrong }),
    },
    without: 'comparison dispose',
  },
  'a model': {
    of: methodsOf(model),
    withOptions: {
      generate: (wrong) => ofModel.generate('where?', wrong),
      generateBatch: (wrong) => ofModel.generateBatch(['where?'], wrong),
      stream: (wrong) => ofModel.stream('where?', wrong).next(),
      encode: (wrong) => ofModel.encode([[5, 1]], wrong),
      logits: (wrong) => ofModel.logits([[5, 1]], [[0]], wrong),
      explain: (wrong) => ofModel.explain({ sourceLength: 3, ...wrong }),
    },
    without: 'comparison dispose',
  },
  'an encoder': {
    of: methodsOf(encoder),
    withOptions: {
      embed: (wrong) => ofEncoder.embed(['where?'], wrong),
      classify: (wrong) => ofEncoder.classify(['where?'], wrong),
      classifyTokens: (wrong) => ofEncoder.classifyTokens(['where?'], wrong),
      fillMask: (wrong) => ofEncoder.fillMask(['[MASK]?'], wrong),
      answer: (wrong) => ofEncoder.answer({ question: 'where?', context: 'here' }, wrong),
      encode: (wrong) => ofEncoder.encode([[5, 1]], wrong),
      logits: (wrong) => ofEncoder.logits([[5, 1]], wrong),
      explain: (wrong) => ofEncoder.explain({ sourceLength: 3, ...wrong }),
    },
    without: 'comparison dispose',
  },
  onnxruntime: {
    of: onnxruntime,
    withOptions: {
      createOnnxRuntimeBackend: (wrong) => untyped(onnxruntime).createOnnxRuntimeBackend(wrong),
      doctor: (wrong) => untyped(onnxruntime).doctor(wrong),
    },
    without: 'OnnxRuntimeBackend fromOrt toOrt',
  },
  export: {
    of: onnxExport,
    withOptions: {
      exportOnnx: (wrong) => untyped(onnxExport).exportOnnx(model, wrong),
      writeExported: (wrong) => untyped(onnxExport).writeExported({}, 'exported', wrong),
    },
    without: 'readExported',
  },
  rewrite: {
    of: rewrite,
    withOptions: {
      rewriteModel: (wrong) => untyped(rewrite).rewriteModel(new Uint8Array(), wrong),
      rewriteFile: (wrong) => untyped(rewrite).rewriteFile('model.onnx', 'rewritten.onnx', wrong),
      learnAxes: (wrong) => untyped(rewrite).learnAxes(new Uint8Array(), {}, wrong),
    },
    without: 'formatReport',
  },
  webgpu: {
    of: webgpu,
    withOptions: {
      createWebGpuBackend: (wrong) => untyped(webgpu).createWebGpuBackend(wrong),
      acquireDevice: (wrong) => untyped(webgpu).acquireDevice(wrong),
      doctor: (wrong) => untyped(webgpu).doctor(wrong),
      fromGpuBuffer: (wrong) => untyped(webgpu).fromGpuBuffer({}, {}, { shape: [1], ...wrong }),
    },
    without: 'WebGpuBackend toGpuBuffer',
  },
  tfjs: {
    of: tfjs,
    withOptions: {
      createTfjsBackend: (wrong) => ofTfjs.createTfjsBackend({ tf: tfCore, ...wrong }),
      doctor: (wrong) => ofTfjs.doctor({ tf: tfCore, ...wrong }),
    },
    without: 'TfjsBackend engineOf fromTf toTf',
  },
  'tfjs/layers': {
    of: tfjsLayers,
    withOptions: {
      topKAttention: (wrong) => ofTfjsLayers.topKAttention(tfCore, tfQ, tfQ, tfQ, { k: 1, ...wrong }),
      exactAttention: (wrong) => ofTfjsLayers.exactAttention(tfCore, tfQ, tfQ, tfQ, wrong),
      topKFeedForward: (wrong) =>
        ofTfjsLayers.topKFeedForward(tfCore, tfX, { wIn: tfX, wOut: tfX }, { k: 1, ...wrong }),
      convertLayersModel: (wrong) =>
        ofTfjsLayers.convertLayersModel(tf, tfLayers.sequential(), { feedForward: { k: 1 }, ...wrong }),
      convertModelArtifacts: (wrong) =>
        ofTfjsLayers.convertModelArtifacts({ modelTopology: {} }, { attention: { k: 1 }, ...wrong }),
    },
    without: 'topKLayers',
  },
  'layers of tfjs': {
    of: layers,
    withOptions: {
      TopKMultiHeadAttention: (wrong) =>
        new ofLayers.TopKMultiHeadAttention({ numHeads: 1, keyDim: 2, k: 1, ...wrong }),
      TopKFeedForward: (wrong) => new ofLayers.TopKFeedForward({ hiddenUnits: 2, k: 1, ...wrong }),
      TopKTransformerBlock: (wrong) =>
        new ofLayers.TopKTransformerBlock({ numHeads: 1, hiddenUnits: 2, k: 1, ...wrong }),
    },
    without: '',
  },
};

/** What an object's class can do. */
function methodsOf(made: object): object {
  const { constructor: _, ...methods } = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(made));
  return Object.fromEntries(Object.entries(methods).map(([name, { value }]) => [name, value]));
}

/** Options within options, with a right one beside the misspelt one. */
const within: Readonly<Record<string, Call>> = {
  'topKAttention dropout': (wrong) =>
    ofCore.topKAttention(q, q, q, { k: 1, dropout: { rate: 0.1, seed: 1, ...wrong } }),
  'topKAttention relativeBias': (wrong) => {
    const table = core.zeros(backend, [8, 1]);
    const relativeBias = { table, bidirectional: true, maxDistance: 16, ...wrong };
    return ofCore.topKAttention(q, q, q, { k: 1, relativeBias });
  },
  'topKFeedForward weights': (wrong) => ofCore.topKFeedForward(x, { ...weights, ...wrong }, { k: 1 }),
  'explain shapes': (wrong) => ofCore.explain(backend, { ...shapes, ...wrong }, { k: 1 }),
  'explainFeedForward sizes': (wrong) => ofCore.explainFeedForward(backend, { ...sizes, ...wrong }, { k: 1 }),
  'encoderLayer attention': (wrong) =>
    untyped(nn).encoderLayer({ ...layer, hidden: 2, attention: { causal: true, ...wrong } }),
  'encoderStack relativePositions': (wrong) =>
    untyped(nn).encoderStack({ ...layer, hidden: 2, layers: 1, relativePositions: wrong }),
  'generate attention': (wrong) => ofModel.generate('where?', { attention: { k: 1, ...wrong } }),
  'generate decoder': (wrong) => ofModel.generate('where?', { decoder: wrong }),
  'generate trace': (wrong) => ofModel.generate('where?', { trace: wrong }),
  't5Forward: inputs': (wrong) =>
    untyped(models).t5Forward(model.config, model.parameters, {
      sources: [[5, 1]],
      targets: [[0]],
      ...wrong,
    }),
  'answer question': (wrong) => ofEncoder.answer({ question: 'where?', context: 'here', ...wrong }),
  'embed encoder.0': (wrong) => ofEncoder.embed(['where?'], { layers: { 'encoder.0': wrong } }),
  'generate encoder.0': (wrong) => ofModel.generate('where?', { layers: { 'encoder.0': wrong } }),
  'convertModelArtifacts feedForward': (wrong) =>
    ofTfjsLayers.convertModelArtifacts({ modelTopology: {} }, { feedForward: { k: 1, ...wrong } }),
  'topKFeedForward weights, of tf': (wrong) =>
    ofTfjsLayers.topKFeedForward(tfCore, tfX, { wIn: tfX, wOut: tfX, ...wrong }, { k: 1 }),
};

async function failureOf(call: Call, wrong: object): Promise<core.TopKError> {
  try {
    await call(wrong);
  } catch (error) {
    expect(error).toBeInstanceOf(core.TopKError);
    return error as core.TopKError;
  }
  throw new Error('nothing was thrown');
}

for (const [name, { of, withOptions, without }] of Object.entries(modules)) {
  describe(name, () => {
    test('every function is known to take options or not to', () => {
      const functions = Object.entries(of).filter(([, value]) => typeof value === 'function');
      const listed = [...Object.keys(withOptions), ...without.split(/\s+/).filter((word) => word !== '')];
      expect(listed.sort()).toEqual(functions.map(([own]) => own).sort());
    });
    test.each(Object.entries(withOptions))('%s refuses a misspelt option', async (own, call) => {
      const error = await failureOf(call, { mispelt: 1 });
      expect(error).toMatchObject({ code: 'INVALID_OPTION' });
      expect(error.message).toContain('mispelt');
      expect(error.message).toContain(own);
    });
  });
}

test.each(Object.entries(within))('%s: a misspelt option within', async (name, call) => {
  const error = await failureOf(call, { mispelt: 1 });
  expect(error).toMatchObject({ code: 'INVALID_OPTION' });
  expect(error.message).toContain('mispelt');
  expect(error.message).toContain(name.split(' ')[0]);
});

test('what is no object of options is refused by each', async () => {
  for (const call of [
    () => ofCore.exactAttention(q, q, q, null),
    () => untyped(reference).createReferenceBackend('f64'),
    () => untyped(onnxruntime).createOnnxRuntimeBackend(2),
    () => untyped(webgpu).createWebGpuBackend([]),
    () => ofTfjs.createTfjsBackend(tfCore),
    () => untyped(models).loadT5('./model'),
    () => ofModel.generate('where?', 20),
  ]) {
    expect(await failureOf(call, {})).toMatchObject({ code: 'INVALID_OPTION' });
  }
});
