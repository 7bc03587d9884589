// kafkajs as writer and reader.
//
//     client.js write BOOTSTRAP TOPIC CODEC FILE    lines "timestamp TAB key TAB headers TAB value"
//     client.js read BOOTSTRAP TOPIC                canonical lines on standard output, whole topic
//
// "\N" stands for none; headers are "name=value,name=value". kafkajs's consumer exists only as a
// member of a group, so that reading drives its cluster, fetch and batch code directly: the same
// requests and the same decoder, with the group left out.
'use strict'

const fs = require('fs')
const path = require('path')
const { createRequire } = require('module')

const need = createRequire(path.join(process.env.CONFORMANCE_NODE, 'package.json'))
const inside = name => need(path.join(process.env.CONFORMANCE_NODE, 'node_modules/kafkajs/src', name))
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = need('kafkajs')
const lz4 = need('lz4js')
const xxhash = need('lz4js/xxh32.js')
const zstd = need('@bokuweb/zstd-wasm')

const NONE = '\\N'
const ROWS_PER_SEND = 5000
const LZ4_BLOCK_BYTES = 4 * 1024 * 1024

// lz4js writes frames of dependent blocks, which Apache Kafka does not read: each block stands for
// itself here.
function lz4Frame(data) {
  const descriptor = Buffer.from([0x60, 0x70])
  const check = (xxhash.hash(0, descriptor, 0, 2) >>> 8) & 0xff
  const parts = [Buffer.from([0x04, 0x22, 0x4d, 0x18]), descriptor, Buffer.from([check])]
  for (let from = 0; from < data.length; from += LZ4_BLOCK_BYTES) {
    const block = data.subarray(from, from + LZ4_BLOCK_BYTES)
    const packed = Buffer.alloc(lz4.compressBound(block.length))
    const size = lz4.compressBlock(block, packed, 0, block.length, new Uint32Array(65536))
    const length = Buffer.alloc(4)
    const plain = size === 0 || size >= block.length
    length.writeUInt32LE(plain ? (block.length | 0x80000000) >>> 0 : size)
    parts.push(length, plain ? block : packed.subarray(0, size))
  }
  return Buffer.concat([...parts, Buffer.alloc(4)])
}

async function installCodecs() {
  CompressionCodecs[CompressionTypes.Snappy] = need('kafkajs-snappy')
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async encoder => lz4Frame(encoder.buffer),
    decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
  })
  await zstd.init()
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
    decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
  })
}

function headersOf(text) {
  const headers = {}
  for (const part of text.split(',')) {
    if (!part) continue
    const at = part.indexOf('=')
    const name = part.slice(0, at)
    const value = part.slice(at + 1)
    if (name in headers) headers[name] = [].concat(headers[name], value)
    else headers[name] = value
  }
  return headers
}

async function write(kafka, topic, codec, file) {
  const compression = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }[codec]
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  // Each send goes to one partition: kafkajs forgets what moves, while it sends, to a broker that
  // has answered already, and on a retry puts rows without a key into other partitions.
  const admin = kafka.admin()
  await admin.connect()
  const partitions = (await admin.fetchTopicOffsets(topic)).length
  await admin.disconnect()
  const rows = fs.readFileSync(file, 'utf8').trimEnd().split('\n')
  for (let from = 0; from < rows.length; from += ROWS_PER_SEND) {
    const messages = rows.slice(from, from + ROWS_PER_SEND).map(row => {
      const [timestamp, key, headers, value] = row.split('\t')
      return {
        timestamp,
        partition: (from / ROWS_PER_SEND) % partitions,
        key: key === NONE ? null : key,
        value: value === NONE ? null : value,
        headers: headersOf(headers),
      }
    })
    await producer.send({ topic, acks: -1, compression, messages })
  }
  await producer.disconnect()
}

const show = data => (data === null || data === undefined ? NONE : data.toString('utf8'))

function showHeaders(headers) {
  const shown = []
  for (const [name, value] of Object.entries(headers)) {
    for (const each of Array.isArray(value) ? value : [value]) shown.push(`${name}=${show(each)}`)
  }
  return shown.join(',')
}

async function read(kafka, bootstrap, topic) {
  const admin = kafka.admin()
  await admin.connect()
  const ends = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()

  const Cluster = inside('cluster')
  const Batch = inside('consumer/batch')
  const socketFactory = inside('network/socketFactory')
  const { createLogger } = inside('loggers')
  const logger = createLogger({ level: logLevel.ERROR, logCreator: inside('loggers/console') })
  const cluster = new Cluster({
    logger,
    socketFactory: socketFactory(),
    brokers: [bootstrap],
    clientId: 'purlin-conformance',
    connectionTimeout: 10000,
    requestTimeout: 30000,
    enforceRequestTimeout: true,
    retry: {},
    metadataMaxAge: 300000,
    offsets: new Map(),
    isolationLevel: 1,
  })
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  await cluster.refreshMetadataIfNecessary()
  for (const { partition, low, high } of ends.sort((a, b) => a.partition - b.partition)) {
    let offset = BigInt(low)
    while (offset < BigInt(high)) {
      const leaders = cluster.findLeaderForPartitions(topic, [partition])
      const broker = await cluster.findBroker({ nodeId: Object.keys(leaders)[0] })
      const { responses } = await broker.fetch({
        maxWaitTime: 500,
        minBytes: 1,
        maxBytes: 8 * 1024 * 1024,
        isolationLevel: 1,
        topics: [{ topic, partitions: [{ partition, fetchOffset: offset.toString(), maxBytes: 4 * 1024 * 1024 }] }],
        rackId: '',
      })
      const batch = new Batch(topic, offset.toString(), responses[0].partitions[0])
      let lines = ''
      for (const message of batch.messages) {
        lines +=
          `${partition}\t${message.offset}\t${message.timestamp}\t${show(message.key)}\t` +
          `${showHeaders(message.headers)}\t${show(message.value)}\n`
      }
      if (!process.stdout.write(lines)) await new Promise(done => process.stdout.once('drain', done))
      offset = BigInt(batch.lastOffset()) + 1n
    }
  }
  await cluster.disconnect()
}

async function main() {
  const [verb, bootstrap, topic, ...rest] = process.argv.slice(2)
  process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
  await installCodecs()
  const kafka = new Kafka({ clientId: 'purlin-conformance', brokers: [bootstrap], logLevel: logLevel.ERROR })
  if (verb === 'write') await write(kafka, topic, ...rest)
  else await read(kafka, bootstrap, topic)
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
