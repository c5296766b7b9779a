// The message and the service for kitex's native mode.
namespace go echothrift

struct Message {
  1: required bool flag
  2: required i64 number
  3: required string text
  4: required double ratio
}

service Echoer {
  Message Echo(1: Message request)
  Message Delayed(1: Message request)
}
